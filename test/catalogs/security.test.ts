/**
 * The schema that the migrations make keeps the doctor's rules on access and constraints. test/doctor/ruleFaults.ts plants a
 * violation of each.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { queryCheck, RULES } from '../../src/doctor/examine.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase
const rules = await Promise.all(RULES.map(queryCheck))

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

test.each(rules.map(rule => [rule.name, rule] as const))('%s', async (_name, rule) => {
  const client = await database.owner.connect()
  try {
    await client.query('set search_path to pg_catalog')
    expect(await rule.run({ client, now: Date.now, poolSize: 1, instances: 1 })).toEqual([])
  } finally {
    client.release(true)
  }
})
