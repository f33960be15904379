/** Random steps of a listing, compared with a model: its status, and the number of charges that are not given back. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import fc from 'fast-check'
import type pg from 'pg'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeAdminUser, makeCountry, makeDealer, publish } from '../support/testData.ts'

const RUNS = 60
const PRICE = 5.95

type Next = [status: string, charges: number]

/** The status after each step, and the charges that it adds. From every other status the step is a conflict. */
const STEPS: Record<string, { sql: string; next: Record<string, Next> }> = {
  edit: {
    sql: "select app_public.update_listing($1, title => 'Another car')",
    next: { pending: ['pending', 0], active: ['active', 0], rejected: ['rejected', 0] },
  },
  approve: {
    sql: "select app_public.moderate_listing($1, 'approve')",
    next: { pending: ['active', 0], active: ['active', 0] },
  },
  reject: {
    sql: "select app_public.moderate_listing($1, 'reject', 'No car.')",
    next: { pending: ['rejected', -1], active: ['rejected', 0], rejected: ['rejected', 0] },
  },
  withdraw: {
    sql: 'select app_public.withdraw_listing($1)',
    next: { pending: ['withdrawn', 0], active: ['withdrawn', 0], withdrawn: ['withdrawn', 0] },
  },
  sell: {
    sql: 'select app_public.mark_listing_sold($1)',
    next: { active: ['sold', 0], sold: ['sold', 0] },
  },
  resubmit: {
    sql: 'select app_public.resubmit_listing($1, gen_random_uuid())',
    next: { rejected: ['pending', 1] },
  },
  // an active listing is not in its last 30 days
  renew: {
    sql: 'select app_public.renew_listing($1, gen_random_uuid())',
    next: { expired: ['active', 1] },
  },
  expire: {
    sql: `update app_public.listings set status = 'expired', published_at = now() - interval '91 days',
      expires_at = clock_timestamp(), updated_at = clock_timestamp() where id = $1`,
    next: { active: ['expired', 0], expired: ['expired', 0] },
  },
}

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
})

afterAll(() => database.drop())

async function present(client: pg.PoolClient, id: string): Promise<Next> {
  const { rows } = await client.query<{ status: string; owed: string }>(
    `select l.status, (select sum(gross_amount) from app_public.listing_consumptions where listing_id = l.id) as owed
     from app_public.listings as l where l.id = $1`,
    [id],
  )
  return [rows[0]?.status ?? '', Math.round(Number(rows[0]?.owed) / PRICE)]
}

async function walk(client: pg.PoolClient, names: string[]): Promise<void> {
  const userId = await makeAdminUser(client)
  const dealerId = await makeDealer(client, userId)
  await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
  const id = await publish(client, dealerId)
  let expected: Next = ['pending', 1]
  for (const name of names) {
    const { sql, next } = STEPS[name] as (typeof STEPS)[string]
    const to = next[expected[0]]
    if (to === undefined) expect([name, await refusal(client, sql, [id])]).toEqual([name, 'FC008'])
    else {
      await client.query(sql, [id])
      expected = [to[0], expected[1] + to[1]]
    }
    expect([name, await present(client, id)]).toEqual([name, expected])
  }
  expect(await brokenRules(client)).toEqual([])
}

test('after random steps a listing has the status of the model, and costs what the model says', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...Object.keys(STEPS)), { minLength: 1, maxLength: 15 }),
      names => rolledBack(database, client => walk(client, names)),
    ),
    { numRuns: RUNS },
  ))
