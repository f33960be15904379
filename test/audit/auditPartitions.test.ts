/** The audit trail by month: made ahead, never without a place to write, dropped whole and on record. */
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

async function partitions(client: Pick<pg.ClientBase, 'query'>): Promise<string[]> {
  const { rows } = await client.query(
    `select inhrelid::regclass::text as name from pg_inherits
     where inhparent = 'app_public.audit_logs'::regclass order by 1`,
  )
  return rows.map(({ name }) => name.replace('app_private.', ''))
}

/** The partition's name of the month so many after this one. */
function month(offset: number): string {
  const today = new Date()
  const first = new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() + offset))
  return `audit_logs_${first.toISOString().slice(0, 7).replace('-', '_')}`
}

/** An entry of so many months ago, or to come. */
async function write(client: Pick<pg.ClientBase, 'query'>, months: number): Promise<string> {
  const { rows } = await client.query(
    `insert into app_public.audit_logs (action, resource_type, created_at)
     values ('OLD_ENTRY', 'users', date_trunc('month', now(), 'UTC') + $1 * interval '1 month' + interval '1 hour')
     returning tableoid::regclass::text as partition`,
    [months],
  )
  return rows[0].partition.replace('app_private.', '')
}

test('there are partitions for this month and the three that follow, and a second call makes none', async () => {
  expect(await partitions(database.owner)).toEqual([...[0, 1, 2, 3].map(month), 'audit_logs_default'].sort())
  expect((await database.owner.query(MAINTAIN)).rows).toEqual([{ made: 0, dropped: 0 }])
})

test('what is written before its partition is made has a place, and moves in once it is', () =>
  rolledBack(database, async client => {
    expect(await write(client, 5)).toBe('audit_logs_default')
    await client.query(MAINTAIN)
    const { rows } = await client.query(
      "select tableoid::regclass::text as name from app_public.audit_logs where action = 'OLD_ENTRY'",
    )
    expect(rows).toEqual([{ name: expect.stringContaining(month(5)) }])
    expect(await refusal(client, 'delete from app_private.audit_logs_default')).toBe('55000')
  }))

test('no partition can be written to around the guards of the whole', async () => {
  await rolledBack(database, async client => {
    for (const name of await partitions(client)) {
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

/** With partitions for the months before this one too. */
function withPast(months: number, work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    // what the table held before it had partitions is in the first of them
    await client.query(`alter table app_public.audit_logs detach partition app_private.${month(0)}`)
    await client.query(`drop table app_private.${month(0)}`)
    for (let ago = months; ago >= 0; ago -= 1) {
      await client.query(
        "select app_private.make_audit_partition((now() at time zone 'UTC' - $1 * interval '1 month')::date)",
        [ago],
      )
      await write(client, -ago)
    }
    await work(client)
  })
}

test('the retention drops whole months that are past it, and records each', () =>
  withPast(4, async client => {
    await client.query('update app_private.operation_settings set audit_retention_months = 2')
    expect((await client.query(MAINTAIN)).rows).toEqual([{ made: 0, dropped: 2 }])
    expect((await partitions(client)).slice(0, 3)).toEqual([-2, -1, 0].map(month))
    const { rows } = await client.query(
      "select old_values, new_values from app_public.audit_logs where action = 'DROP_AUDIT_LOGS' order by created_at, id",
    )
    expect(rows).toEqual(
      [-4, -3].map(offset => ({
        old_values: { partition: `app_private.${month(offset)}`, count: 1 },
        new_values: { reason: 'retention of 2 months' },
      })),
    )
  }))

test('without a retention nothing is ever dropped, and ten years are kept unless told otherwise', () =>
  withPast(4, async client => {
    const keep = 'select audit_retention_months from app_private.operation_settings'
    expect((await client.query(keep)).rows).toEqual([{ audit_retention_months: 120 }])
    expect((await client.query(MAINTAIN)).rows).toEqual([{ made: 0, dropped: 0 }])
    await client.query('update app_private.operation_settings set audit_retention_months = null')
    expect((await client.query(MAINTAIN)).rows).toEqual([{ made: 0, dropped: 0 }])
  }))

test('the way around takes a month that has ended and a reason, and leaves its own trace', () =>
  withPast(1, async client => {
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
