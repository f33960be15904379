/** The nightly check of the ledger: its stored results, its alerts and its log lines. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { startWorkerRole } from '../../src/worker/role.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser, publish } from '../support/testData.ts'
import { committed } from '../support/transactions.ts'
import { holding, until, untilWaitingForLock } from '../support/waits.ts'

let database: TestDatabase

beforeEach(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  const userId = await makeUser(database.owner)
  const dealerId = await makeDealer(database.owner, userId)
  await makeSubscription(database.owner, dealerId)
  await committed(database, { dealer: userId }, client => publish(client, dealerId))
})

afterEach(() => database.drop())

const check = () => database.owner.query('select * from app_private.check_ledger()')
const breakQuota = (used = 0) =>
  database.superuser.query('update app_public.dealer_subscriptions set used_listing_quota = $1', [used])
/** Deletes all listings with the protecting triggers switched off. */
const deleteListings = () =>
  database.superuser.query(
    `set session_replication_role = 'replica'; delete from app_public.listings; reset session_replication_role`,
  )

async function alerts(): Promise<{ key: string; details: Record<string, unknown> }[]> {
  const { rows } = await database.owner.query(
    "select key, details from app_private.alerts where kind = 'ledger_broken' order by id",
  )
  return rows
}

test('a check without findings is stored with its times and raises no alert', async () => {
  await check()
  const { rows } = await database.owner.query(
    `select broken, findings, started_at <= finished_at as ordered, finished_at > now() - interval '1 minute' as recent
     from app_private.ledger_checks`,
  )
  expect(rows).toEqual([{ broken: 0, findings: [], ordered: true, recent: true }])
  expect(await alerts()).toEqual([])
})

test('findings are stored with examples and raise one alert a day', async () => {
  await breakQuota()
  await check()
  await check()
  const { rows } = await database.owner.query(
    'select broken, findings from app_private.ledger_checks order by id',
  )
  const rule = 'the used quota of a subscription is not the number of its ledger rows'
  const finding = { rule, broken: 1, examples: [expect.objectContaining({ detail: expect.anything() })] }
  expect(rows).toEqual([
    { broken: 1, findings: [finding] },
    { broken: 1, findings: [finding] },
  ])
  expect(await alerts()).toEqual([
    { key: expect.stringMatching(/^\d{4}-\d\d-\d\d$/), details: { broken: 1, findings: [finding] } },
  ])
})

test('a check stores at most five examples for each rule', async () => {
  await database.superuser.query(
    `set session_replication_role = 'replica';
     insert into app_public.listings (dealer_id, country, title, module, price, currency, idempotency_key, payload_hash, created_by)
     select dealer_id, country, title, module, price, currency, gen_random_uuid(), payload_hash, created_by
     from app_public.listings cross join generate_series(1, 8);
     reset session_replication_role`,
  )
  const { rows } = await check()
  expect(rows[0].broken).toBe(8)
  expect(rows[0].findings).toMatchObject([{ broken: 8 }])
  expect(rows[0].findings[0].examples).toHaveLength(5)
})

test('the findings are in the order of their rules', async () => {
  await deleteListings()
  await breakQuota()
  const { rows } = await check()
  const rules = rows[0].findings.map(({ rule }: { rule: string }) => rule)
  expect(rules.length).toBeGreaterThan(1)
  expect(rules).toEqual(rules.toSorted())
})

test('a check with the start of a separate listings check keeps that start and skips the listings', async () => {
  await deleteListings()
  const { rows } = await database.owner.query(
    `select c.broken, c.started_at = s.since as from_then
     from (select now() - interval '1 minute' as since) as s cross join app_private.check_ledger(s.since) as c`,
  )
  expect(rows).toEqual([{ broken: 0, from_then: true }])
  expect((await check()).rows).toMatchObject([{ broken: 1 }])
})

test('the worker task logs an info line without findings, and an error with the broken rules otherwise', async () => {
  const recorded = recordLog('info')
  const worker = await startWorkerRole({ databaseUrl: database.ownerUrl, log: recorded.log })
  const run = async (line: RegExp) => {
    await database.owner.query("select graphile_worker.add_job('verify_ledger')")
    await until('the result is logged', () => recorded.lines.some(({ msg }) => line.test(msg)))
    return recorded.lines.find(({ msg }) => line.test(msg))
  }
  try {
    expect(await run(/the ledger is in order/)).toMatchObject({ level: 30, task: 'verify_ledger' })
    await breakQuota()
    expect(await run(/1 ledger rows break a rule.*used quota of a subscription is not/)).toMatchObject({
      level: 50,
    })
    await deleteListings()
    expect(await run(/2 ledger rows break a rule.*has no listing/)).toMatchObject({ level: 50 })
  } finally {
    await worker.stop()
  }
})

test('a stopping worker cancels the check and leaves the job for the next worker', async () => {
  const worker = await startWorkerRole({ databaseUrl: database.ownerUrl, log: recordLog('info').log })
  await holding(
    database,
    'lock table app_public.listing_consumptions in access exclusive mode',
    [],
    async () => {
      await database.owner.query("select graphile_worker.add_job('verify_ledger')")
      await untilWaitingForLock(database, 'forecourt worker')
      await worker.stop()
    },
  )
  const { rows } = await database.superuser.query(
    'select locked_at, last_error from graphile_worker._private_jobs',
  )
  expect(rows).toEqual([{ locked_at: null, last_error: expect.stringMatching(/user request/) }])
})
