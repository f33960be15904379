/** The ids of all rows: time-ordered UUIDs. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

test('an id is a UUID of version 7 that contains the time of its creation in milliseconds', async () => {
  const { rows } = await database.owner.query(
    `select id, extract(epoch from clock_timestamp()) * 1000 as now
     from (select app_private.time_ordered_uuid() as id offset 0) as made`,
  )
  expect(rows[0].id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  const time = Number.parseInt(rows[0].id.replaceAll('-', '').slice(0, 12), 16)
  expect(Math.abs(Number(rows[0].now) - time)).toBeLessThan(1000)
})

test('ids are in the order of their creation, and all different', async () => {
  const { rows } = await database.owner.query<{ id: string }>(
    'select app_private.time_ordered_uuid() as id from generate_series(1, 5000)',
  )
  // 60 bits of time: ids made within a quarter of a microsecond have a random order
  const times = rows.map(({ id }) => id.slice(0, 18))
  expect(times).toEqual([...times].sort())
  expect(new Set(rows.map(({ id }) => id)).size).toBe(5000)
})

test('a role of the API cannot call the function', () =>
  rolledBack(database, async client => {
    await client.query('set local role forecourt_dealer')
    expect(await refusal(client, 'select app_private.time_ordered_uuid()')).toBe('42501')
  }))
