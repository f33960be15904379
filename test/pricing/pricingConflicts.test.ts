/** Refusals for missing configuration, added up in the database. */
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

async function conflicts(): Promise<unknown[]> {
  const { rows } = await database.owner.query(
    `select country, segment, pricing_type, configuration, code, count::integer
     from app_private.pricing_conflicts order by country, configuration, code`,
  )
  return rows
}

async function alertJobs(): Promise<number> {
  const { rows } = await database.superuser.query(
    `select count(*)::integer as jobs from graphile_worker.jobs where task_identifier = 'send_alert'`,
  )
  return rows[0].jobs
}

test('conflicts are added up by country, segment, type, configuration and code, a package among them', async () => {
  await record(price, packageVat)
  await record({ ...price, count: 5 }, packageVat, { ...price, country: 'AT' })
  expect(await conflicts()).toEqual([
    { ...price, country: 'AT' },
    { ...price, count: 6 },
    { ...packageVat, pricing_type: null, count: 2 },
  ])
})

test('when a conflict was first seen stays, when it was last seen moves on', async () => {
  await record(price)
  const SEEN = 'select first_seen_at, last_seen_at from app_private.pricing_conflicts'
  const [first] = (await database.owner.query(SEEN)).rows
  expect(first.first_seen_at).toEqual(first.last_seen_at)
  await record(price)
  const { rows } = await database.owner.query(`${SEEN} where last_seen_at > first_seen_at`)
  expect(rows).toMatchObject([{ first_seen_at: first.first_seen_at }])
})

test('1,000 conflicts of one kind within an hour make one alert, recorded by 20 at once', async () => {
  const outcomes = await concurrently(database, 'authenticator', 20, async client => {
    for (let time = 0; time < 5; time += 1) {
      await client.query(RECORD, [JSON.stringify([{ ...price, count: 10 }])])
      await client.query('commit; begin; set local role forecourt_authenticator')
    }
  })
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  expect(await conflicts()).toEqual([{ ...price, count: 1000 }])
  // a run over the full hour is the one case with two
  const { rows } = await database.owner.query(
    'select count(distinct date_trunc($1, created_at))::integer as hours from app_private.alerts',
    ['hour'],
  )
  expect(await alertJobs()).toBe(rows[0].hours)
  expect(await alertJobs()).toBeLessThanOrEqual(2)
})

test('another conflict, or the same in another hour, is another alert', async () => {
  await record(price)
  await record(packageVat)
  expect(await alertJobs()).toBe(2)
  // an hour goes by
  await database.owner.query("update app_private.alerts set key = key || ' then'")
  await record(price)
  await record(price)
  expect(await alertJobs()).toBe(3)
})

test('two that record the same conflicts in another order do not deadlock', async () => {
  const all = ['DE', 'AT', 'CH', 'FR', 'IT', 'ES'].map(country => ({ ...price, country }))
  const outcomes = await concurrently(database, 'authenticator', 10, (client, index) =>
    client.query(RECORD, [JSON.stringify(index % 2 ? all : all.toReversed())]),
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 10 })
  expect(await conflicts()).toHaveLength(6)
})

test('what is no conflict is refused as a whole', async () => {
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
  expect(await conflicts()).toEqual([])
})

test('only the login of the API records conflicts, and it cannot read them', () =>
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
