/** Which publications are counted. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { Registry } from 'prom-client'
import { makePool } from '../../src/database/pool.ts'
import { countPublications } from '../../src/metrics/publications.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

const registry = new Registry()
let database: TestDatabase
let pool: pg.Pool

beforeAll(async () => {
  database = await cloneDatabase()
  pool = makePool({
    config: { connectionString: database.ownerUrl },
    name: 'test publications',
    size: 1,
    onError: () => {},
  })
  countPublications(pool, registry)
})

afterAll(async () => {
  await pool.end()
  await database.drop()
})

/** Sends the notice of a publication, then runs the rest of the statement. */
const publish = (rest: string) =>
  pool.query(`do $$ begin raise notice 'listing published' using detail = 'free_quota'; ${rest} end $$`)

async function counted(): Promise<number> {
  const [metric] = await registry.getMetricsAsJSON()
  return metric?.values[0]?.value ?? 0
}

test('a publication is counted when its statement succeeds, and not when it fails', async () => {
  await publish('')
  expect(await counted()).toBe(1)
  await expect(publish("raise exception using errcode = '42804', message = 'no';")).rejects.toThrow()
  expect(await counted()).toBe(1)
  await pool.query('select 1')
  expect(await counted()).toBe(1)
  await publish('')
  expect(await counted()).toBe(2)
})
