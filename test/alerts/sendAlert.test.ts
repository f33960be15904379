/** The outbox: an alert is sent once, and only if the transaction that raised it commits. */
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { concurrently } from '../support/transactions.ts'

const SEND = 'select app_private.send_alert($1, $2, $3) as is_new'

let database: TestDatabase

beforeEach(async () => {
  database = await cloneDatabase()
})

afterEach(() => database.drop())

async function readJobs(): Promise<unknown[]> {
  const { rows } = await database.superuser.query(
    "select payload from graphile_worker._private_jobs join graphile_worker._private_tasks as t on t.id = task_id where t.identifier = 'send_alert'",
  )
  return rows
}

test('an alert writes a row and a job with its id', async () => {
  await database.owner.query(SEND, ['test_alert', 'a', 'Something is wrong.'])
  const { rows } = await database.owner.query(
    'select id, kind, key, message, details from app_private.alerts',
  )
  expect(rows).toEqual([
    { id: rows[0].id, kind: 'test_alert', key: 'a', message: 'Something is wrong.', details: {} },
  ])
  expect(await readJobs()).toEqual([{ payload: { id: rows[0].id } }])
})

test('a transaction that is rolled back sends nothing', async () => {
  await rolledBack(database, client => client.query(SEND, ['test_alert', 'a', 'Something is wrong.']))
  expect(await readJobs()).toEqual([])
  expect((await database.owner.query('select from app_private.alerts')).rows).toEqual([])
})

test('20 concurrent alerts with the same kind and key are sent once', async () => {
  const outcomes = await concurrently(database, 'owner', 20, async (client, index) => {
    const { rows } = await client.query(SEND, ['test_alert', 'a', `Attempt ${index}.`])
    return rows[0].is_new
  })
  const isNew = outcomes.map(outcome => outcome.status === 'fulfilled' && outcome.value)
  expect(isNew.filter(Boolean)).toHaveLength(1)
  expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([])
  expect(await readJobs()).toHaveLength(1)
})

test('a different kind or a different key makes a separate alert', async () => {
  for (const [kind, key] of [
    ['test_alert', 'a'],
    ['test_alert', 'b'],
    ['other_alert', 'a'],
  ]) {
    await database.owner.query(SEND, [kind, key, 'Something is wrong.'])
  }
  expect(await readJobs()).toHaveLength(3)
})

test('after 50 alerts of a kind within an hour one alert reports the flood; other kinds are still sent', async () => {
  await database.owner.query(
    `select app_private.send_alert('test_alert', n::text, 'Something is wrong.') from generate_series(1, 200) as n`,
  )
  expect(await readJobs()).toHaveLength(51)
  const { rows } = await database.owner.query(
    'select kind, count(*)::integer as alerts from app_private.alerts group by kind order by kind',
  )
  expect(rows).toEqual([
    { kind: 'alert_flood', alerts: 1 },
    { kind: 'test_alert', alerts: 200 },
  ])
  await database.owner.query(SEND, ['other_alert', 'a', 'Something is wrong.'])
  expect(await readJobs()).toHaveLength(52)
  // as if an hour had passed
  await database.owner.query("update app_private.alerts set created_at = now() - interval '61 minutes'")
  await database.owner.query(SEND, ['test_alert', 'later', 'Something is wrong.'])
  expect(await readJobs()).toHaveLength(53)
})

test('an alert is removed with its deliveries after 90 days, but not earlier', async () => {
  for (const key of ['old', 'new'])
    await database.owner.query(SEND, ['test_alert', key, 'Something is wrong.'])
  await database.owner.query(
    "select app_private.record_alert_delivery(id, 'webhook') from app_private.alerts",
  )
  await database.owner.query(
    `update app_private.alerts
     set created_at = now() - case key when 'old' then interval '2161 hours' else interval '2159 hours' end`,
  )
  expect((await database.owner.query('select app_private.remove_old_alerts() as count')).rows).toEqual([
    { count: 1 },
  ])
  expect((await database.owner.query('select key from app_private.alerts')).rows).toEqual([{ key: 'new' }])
  expect((await database.owner.query('select from app_private.alert_deliveries')).rows).toHaveLength(1)
})

test('no role of the API can send alerts', () =>
  rolledBack(database, async client => {
    for (const as of [
      'visitor',
      'authenticator',
      { dealer: randomUUID() },
      { admin: randomUUID() },
    ] as const) {
      await become(client, as)
      expect(await refusal(client, SEND, ['test_alert', 'a', 'x'])).toBe('42501')
      await client.query('reset role')
    }
  }))
