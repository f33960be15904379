/** Counts of refusals for missing or ambiguous pricing configuration. */
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { committed, concurrently, countOutcomes } from '../support/transactions.ts'

const RECORD = 'select app_public.record_pricing_conflicts($1)'

let database: TestDatabase

beforeEach(async () => {
  database = await cloneDatabase()
})

afterEach(() => database.drop())

const price = {
  country: 'DE',
  segment: 'dealer',
  pricing_type: 'pay_per_listing',
  configuration: 'price',
  code: 'pricing_config_missing',
  count: 1,
}
const packageVat = { ...price, pricing_type: undefined, configuration: 'vat_rate' }

const record = (...conflicts: object[]) =>
  committed(database, 'authenticator', client => client.query(RECORD, [JSON.stringify(conflicts)]))

async function readConflicts(): Promise<unknown[]> {
  const { rows } = await database.owner.query(
    `select country, segment, pricing_type, configuration, code, count::integer
     from app_private.pricing_conflicts order by country, configuration, code`,
  )
  return rows
}

async function countAlertJobs(): Promise<number> {
  const { rows } = await database.superuser.query(
    `select count(*)::integer as jobs from graphile_worker.jobs where task_identifier = 'send_alert'`,
  )
  return rows[0].jobs
}

test('conflicts are counted by country, segment, pricing type, configuration and code', async () => {
  await record(price, packageVat)
  await record({ ...price, count: 5 }, packageVat, { ...price, country: 'AT' })
  expect(await readConflicts()).toEqual([
    { ...price, country: 'AT' },
    { ...price, count: 6 },
    { ...packageVat, pricing_type: null, count: 2 },
  ])
})

test('a repeated conflict keeps its first time and updates its last time', async () => {
  await record(price)
  const SEEN = 'select first_seen_at, last_seen_at from app_private.pricing_conflicts'
  const [first] = (await database.owner.query(SEEN)).rows
  expect(first.first_seen_at).toEqual(first.last_seen_at)
  await record(price)
  const { rows } = await database.owner.query(`${SEEN} where last_seen_at > first_seen_at`)
  expect(rows).toMatchObject([{ first_seen_at: first.first_seen_at }])
})

test('1,000 conflicts of one kind within an hour raise one alert, recorded in 20 concurrent sessions', async () => {
  const outcomes = await concurrently(database, 'authenticator', 20, async client => {
    for (let time = 0; time < 5; time += 1) {
      await client.query(RECORD, [JSON.stringify([{ ...price, count: 10 }])])
      await client.query('commit; begin; set local role forecourt_authenticator')
    }
  })
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  expect(await readConflicts()).toEqual([{ ...price, count: 1000 }])
  // two alerts are right only if the test runs across a full hour
  const { rows } = await database.owner.query(
    'select count(distinct date_trunc($1, created_at))::integer as hours from app_private.alerts',
    ['hour'],
  )
  expect(await countAlertJobs()).toBe(rows[0].hours)
  expect(await countAlertJobs()).toBeLessThanOrEqual(2)
})

test('a different conflict, or the same conflict in another hour, raises another alert', async () => {
  await record(price)
  await record(packageVat)
  expect(await countAlertJobs()).toBe(2)
  // as if the alerts were from an earlier hour
  await database.owner.query("update app_private.alerts set key = key || ' then'")
  await record(price)
  await record(price)
  expect(await countAlertJobs()).toBe(3)
})

test('sessions that record the same conflicts in opposite order do not deadlock', async () => {
  const all = ['DE', 'AT', 'CH', 'FR', 'IT', 'ES'].map(country => ({ ...price, country }))
  const outcomes = await concurrently(database, 'authenticator', 10, (client, index) =>
    client.query(RECORD, [JSON.stringify(index % 2 ? all : all.toReversed())]),
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 10 })
  expect(await readConflicts()).toHaveLength(6)
})

test('one invalid conflict makes the whole call fail', async () => {
  for (const wrong of [
    { country: 'Germany' },
    { code: 'conflict' },
    { configuration: 'weather' },
    { count: 0 },
    { segment: null },
  ]) {
    await expect(record(packageVat, { ...price, ...wrong })).rejects.toMatchObject({
      code: expect.stringMatching(/^23/),
    })
  }
  expect(await readConflicts()).toEqual([])
})

test('only the login of the API can record conflicts, and it cannot read them', () =>
  rolledBack(database, async client => {
    for (const as of ['visitor', { dealer: randomUUID() }, { admin: randomUUID() }] as const) {
      await become(client, as)
      expect(await refusal(client, RECORD, ['[]'])).toBe('42501')
      await client.query('reset role')
    }
    await become(client, 'authenticator')
    await client.query(RECORD, ['[]'])
    expect(await refusal(client, 'select from app_private.pricing_conflicts')).toBe('42501')
  }))
