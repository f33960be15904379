/** The monthly partitions of the audit trail: created ahead, with a default partition, and dropped only with a record. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'

const MAINTAIN = 'select made, dropped from app_private.maintain_audit_logs()'
const DROP = 'select app_private.drop_audit_partition($1, $2)'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

async function readPartitions(client: Pick<pg.ClientBase, 'query'>): Promise<string[]> {
  const { rows } = await client.query(
    `select inhrelid::regclass::text as name from pg_inherits
     where inhparent = 'app_public.audit_logs'::regclass order by 1`,
  )
  return rows.map(({ name }) => name.replace('app_private.', ''))
}

/** The name of the partition `offset` months after this one. */
function partitionName(offset: number): string {
  const today = new Date()
  const first = new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() + offset))
  return `audit_logs_${first.toISOString().slice(0, 7).replace('-', '_')}`
}

/** Writes an entry `months` after this month, or before it if negative, and returns its partition. */
async function writeEntry(client: Pick<pg.ClientBase, 'query'>, months: number): Promise<string> {
  const { rows } = await client.query(
    `insert into app_public.audit_logs (action, resource_type, created_at)
     values ('OLD_ENTRY', 'users', date_trunc('month', now(), 'UTC') + $1 * interval '1 month' + interval '1 hour')
     returning tableoid::regclass::text as partition`,
    [months],
  )
  return rows[0].partition.replace('app_private.', '')
}

test('partitions exist for this month and the next three, and another maintenance creates none', async () => {
  expect(await readPartitions(database.owner)).toEqual(
    [...[0, 1, 2, 3].map(partitionName), 'audit_logs_default'].sort(),
  )
  expect((await database.owner.query(MAINTAIN)).rows).toEqual([{ made: 0, dropped: 0 }])
})

test('an entry without a partition goes to the default partition, and moves once maintenance creates its partition', () =>
  rolledBack(database, async client => {
    expect(await writeEntry(client, 5)).toBe('audit_logs_default')
    await client.query(MAINTAIN)
    const { rows } = await client.query(
      "select tableoid::regclass::text as name from app_public.audit_logs where action = 'OLD_ENTRY'",
    )
    expect(rows).toEqual([{ name: expect.stringContaining(partitionName(5)) }])
    expect(await refusal(client, 'delete from app_private.audit_logs_default')).toBe('55000')
  }))

test('the guards of the audit trail also protect each partition', async () => {
  await rolledBack(database, async client => {
    for (const name of await readPartitions(client)) {
      for (const change of ['update % set action = action', 'delete from %', 'truncate %']) {
        expect(await refusal(client, change.replace('%', `app_private.${name}`))).toBe('55000')
      }
    }
    for (const as of ['visitor', { dealer: '' }, { admin: '' }] as const) {
      await become(client, as)
      expect(await refusal(client, 'select from app_private.audit_logs_default')).toBe('42501')
    }
  })
  const { rows } = await database.superuser.query(
    `select c.relname from pg_class as c join pg_inherits as i on i.inhrelid = c.oid
     where i.inhparent = 'app_public.audit_logs'::regclass and not (c.relrowsecurity and c.relforcerowsecurity)`,
  )
  expect(rows).toEqual([])
})

/** Runs `work` with a partition and an entry for each of the last `months` months. */
function withPastMonths(months: number, work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    // the first partition also holds the entries from before the table was partitioned
    await client.query(`alter table app_public.audit_logs detach partition app_private.${partitionName(0)}`)
    await client.query(`drop table app_private.${partitionName(0)}`)
    for (let ago = months; ago >= 0; ago -= 1) {
      await client.query(
        "select app_private.make_audit_partition((now() at time zone 'UTC' - $1 * interval '1 month')::date)",
        [ago],
      )
      await writeEntry(client, -ago)
    }
    await work(client)
  })
}

test('maintenance drops each month that is older than the retention, and records the drop', () =>
  withPastMonths(4, async client => {
    await client.query('update app_private.operation_settings set audit_retention_months = 2')
    expect((await client.query(MAINTAIN)).rows).toEqual([{ made: 0, dropped: 2 }])
    expect((await readPartitions(client)).slice(0, 3)).toEqual([-2, -1, 0].map(partitionName))
    const { rows } = await client.query(
      "select old_values, new_values from app_public.audit_logs where action = 'DROP_AUDIT_LOGS' order by created_at, id",
    )
    expect(rows).toEqual(
      [-4, -3].map(offset => ({
        old_values: { partition: `app_private.${partitionName(offset)}`, count: 1 },
        new_values: { reason: 'retention of 2 months' },
      })),
    )
  }))

test('nothing is dropped without a retention, and the default retention is ten years', () =>
  withPastMonths(4, async client => {
    const retention = 'select audit_retention_months from app_private.operation_settings'
    expect((await client.query(retention)).rows).toEqual([{ audit_retention_months: 120 }])
    expect((await client.query(MAINTAIN)).rows).toEqual([{ made: 0, dropped: 0 }])
    await client.query('update app_private.operation_settings set audit_retention_months = null')
    expect((await client.query(MAINTAIN)).rows).toEqual([{ made: 0, dropped: 0 }])
  }))

test('a manual drop requires a past month and a reason, and writes an audit entry', () =>
  withPastMonths(1, async client => {
    const { rows } = await client.query(
      "select (date_trunc('month', now() at time zone 'UTC') - interval '1 day')::date::text as past, now()::date::text as today",
    )
    const { past, today } = rows[0]
    expect(await refusal(client, DROP, [today, 'by mistake'])).toBe('FC010')
    for (const reason of [null, '', ' ']) expect(await refusal(client, DROP, [past, reason])).toBe('FC010')
    expect(await refusal(client, DROP, ['2001-01-01', 'court order 1'])).toBe('FC004')
    for (const as of ['visitor', 'authenticator', { dealer: '' }, { admin: '' }] as const) {
      await become(client, as)
      expect(await refusal(client, DROP, [past, 'curiosity'])).toBe('42501')
    }
    await become(client, 'owner')
    expect((await client.query(DROP, [past, 'court order 1'])).rows).toEqual([{ drop_audit_partition: '1' }])
    const trace = await client.query(
      "select login, new_values from app_public.audit_logs where action = 'DROP_AUDIT_LOGS'",
    )
    expect(trace.rows).toEqual([{ login: 'postgres', new_values: { reason: 'court order 1' } }])
  }))
