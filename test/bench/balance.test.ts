/** The deduction that the benchmark compares with: it must be exact, or the comparison would be unfair. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { DEDUCT, makeBalances } from '../../bench/peer/balance.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { countOutcomes } from '../support/transactions.ts'

const customers = { one: randomUUID(), two: randomUUID() }
let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  await makeBalances(database.superuser, Object.values(customers), 10)
})

afterAll(() => database.drop())

function deduct(customer: string, key: string): Promise<unknown> {
  return database.superuser.query(DEDUCT, [customer, key, 1])
}

async function stateOf(customer: string): Promise<unknown> {
  const { rows } = await database.superuser.query(
    `select (b.balance ->> 'credits')::integer as credits,
       (select count(*)::integer from bench_deductions as d where d.customer_id = $1) as deductions
     from bench_balances as b where b.customer_id = $1`,
    [customer],
  )
  return rows[0]
}

test('20 concurrent deductions with the same key deduct once', async () => {
  const key = randomUUID()
  const calls = await Promise.allSettled(Array.from({ length: 20 }, () => deduct(customers.one, key)))
  expect(countOutcomes(calls)).toEqual({ ok: 20 })
  expect(await stateOf(customers.one)).toEqual({ credits: 9, deductions: 1 })
})

test('of 20 concurrent deductions from 10 credits, 10 succeed and 10 are refused and leave no rows', async () => {
  const calls = await Promise.allSettled(
    Array.from({ length: 20 }, () => deduct(customers.two, randomUUID())),
  )
  expect(countOutcomes(calls)).toMatchObject({ ok: 10 })
  expect(await stateOf(customers.two)).toEqual({ credits: 0, deductions: 10 })
})
