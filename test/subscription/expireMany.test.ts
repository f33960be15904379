/** The expiry run over thousands of subscriptions: its query plans, and two workers in parallel. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeCountry, makePackage } from '../support/testData.ts'

const EXPIRE = 'select app_private.expire_subscriptions(1000) as count'
const TOTALS = `select
  (select count(*) from app_public.dealer_subscriptions where status = 'expired')::int as expired,
  (select count(*) from app_public.dealer_subscriptions where status = 'active')::int as active,
  coalesce(sum((a.new_values -> 'count')::int), 0)::int as counted,
  coalesce(sum(jsonb_array_length(a.new_values -> 'ids')), 0)::int as listed,
  count(*)::int as entries
  from app_public.audit_logs as a where a.action = 'SYSTEM_EXPIRE'`

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  await makePackage(database.owner)
  // every second subscription is due, the oldest for 2,500 minutes
  await database.owner.query(`
    with made as (
      insert into app_public.dealers (company_name, country, dealer_type)
      select 'Dealer ' || n, 'DE', 'general' from generate_series(1, 5000) as n
      returning id, substr(company_name, 8)::int as n
    )
    insert into app_public.dealer_subscriptions (dealer_id, package_id, status, duration_days, included_listing_quota, start_at, end_at)
    select m.id, p.id, 'active', 30, 10, now() - interval '60 days',
      now() + m.n * interval '1 minute' * case when m.n % 2 = 0 then -0.5 else 1 end
    from made as m cross join app_public.dealer_packages as p`)
  await database.owner.query('analyze app_public.dealer_subscriptions')
})

afterAll(() => database.drop())

type PlanNode = { 'Node Type': string; 'Index Name'?: string; 'Subplan Name'?: string; Plans?: PlanNode[] }
type Plan = { 'Query Text': string; Plan: PlanNode }

function walk(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(walk)]
}

/** The plans of the statements inside the functions that `sql` calls, as the server executes them. */
async function explain(client: pg.PoolClient, sql: string): Promise<Plan[]> {
  const plans: Plan[] = []
  const collect = (notice: { message?: string | undefined }) => {
    const json = notice.message?.match(/plan:\n(\{[\s\S]*\})/)?.[1]
    if (json !== undefined) plans.push(JSON.parse(json))
  }
  client.on('notice', collect)
  await client.query(sql)
  client.removeListener('notice', collect)
  return plans
}

/** The steps of the part of a plan below the first matching node. */
function stepsFrom(plan: Plan | undefined, matches: (node: PlanNode) => boolean): string[] {
  const part = plan && walk(plan.Plan).find(matches)
  if (part === undefined) return []
  return walk(part).map(node => [node['Node Type'], node['Index Name']].filter(Boolean).join(' '))
}

const limited = (node: PlanNode) => node['Node Type'] === 'Limit'
const due = (node: PlanNode) => node['Subplan Name'] === 'CTE due'

test.each(['force_custom_plan', 'force_generic_plan'])(
  'with row-level security, due subscriptions are read from the index without a sort, and a batch by its ctids: %s',
  async mode => {
    const client = await database.superuser.connect()
    try {
      await client.query("load 'auto_explain'")
      await client.query('begin')
      await client.query(`set local plan_cache_mode = ${mode}`)
      await client.query(
        'set local auto_explain.log_min_duration = 0; set local auto_explain.log_nested_statements = on',
      )
      await client.query("set local auto_explain.log_format = 'json'; set local client_min_messages = 'log'")
      await become(client, 'owner')
      const byIndex = 'Index Scan ix_dealer_subscriptions_active_end_at'
      const found = await explain(
        client,
        "select from app_private.find_due_batches('-infinity', now(), 500, 32)",
      )
      const batches = found.find(({ 'Query Text': text }) => text.includes('row_number'))
      expect(stepsFrom(batches, limited)).toEqual(['Limit', byIndex])
      const expired = await explain(client, EXPIRE)
      const [taken, rows] = expired.filter(({ 'Query Text': text }) =>
        /dealer_subscriptions[\s\S]*skip locked/.test(text),
      )
      expect(stepsFrom(taken, limited)).toEqual(['Limit', 'LockRows', byIndex])
      // the result is the sub-select that returns the parameter
      expect(stepsFrom(rows, due)).toEqual(['LockRows', 'Result', 'Tid Scan'])
      const reads = stepsFrom(rows, () => true).filter(step => / Scan/.test(step) && step !== 'CTE Scan')
      expect(reads).toEqual(['Tid Scan', 'Tid Scan'])
    } finally {
      await client.query('rollback')
      client.release()
    }
  },
)

test('two concurrent workers expire each of 2,500 due subscriptions once, and the audit trail adds up', async () => {
  const due = await database.owner.query<{ id: string }>(
    'select id from app_public.dealer_subscriptions where end_at <= now() order by id',
  )
  expect(due.rowCount).toBe(2500)
  const work = async () => {
    const counts: number[] = []
    for (;;) {
      const { rows } = await database.owner.query<{ count: number }>(EXPIRE)
      if (rows[0] === undefined || rows[0].count === 0) return counts
      counts.push(rows[0].count)
    }
  }
  const counts = (await Promise.all([work(), work()])).flat()
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(2500)
  expect(Math.max(...counts)).toBeLessThanOrEqual(1000)
  const { rows } = await database.owner.query(TOTALS)
  expect(rows).toEqual([{ expired: 2500, active: 2500, counted: 2500, listed: 2500, entries: counts.length }])
  // the audit trail lists every due subscription and no other
  const wrong = await database.owner.query(
    `with listed as (
       select expired.id::uuid from app_public.audit_logs as a, jsonb_array_elements_text(a.new_values -> 'ids') as expired (id)
       where a.action = 'SYSTEM_EXPIRE'
     )
     select from unnest($1::uuid[]) as due (id)
     full join listed on listed.id = due.id where listed.id is null or due.id is null`,
    [due.rows.map(({ id }) => id)],
  )
  expect(wrong.rowCount).toBe(0)
})

test('a second run changes nothing', async () => {
  const state = `select md5(string_agg(s::text, '' order by id)) as state from app_public.dealer_subscriptions as s`
  const before = await database.owner.query(state)
  const totals = await database.owner.query(TOTALS)
  expect((await database.owner.query(EXPIRE)).rows).toEqual([{ count: 0 }])
  expect((await database.owner.query(state)).rows).toEqual(before.rows)
  expect((await database.owner.query(TOTALS)).rows).toEqual(totals.rows)
})
