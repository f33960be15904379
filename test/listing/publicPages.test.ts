/** A page of listings by PREMIUM_FIRST reads about as many rows as it shows, with and without statistics, for every role. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { type GraphqlInProcess, startGraphql } from '../support/graphqlInProcess.ts'
import { makeUser, single } from '../support/testData.ts'

/** Without statistics, and with fewer rows than about 130,000, a sort of all active listings looks cheaper. */
const ROWS = 160_000
/** More than a page of 20, and far less than the active listings. */
const MOST = 400

/** Every tenth listing is not active, every third was active before release 0.3, and one dealer in a hundred is in Austria. */
const MAKE = `
  set local session_replication_role to replica;
  alter table app_public.listings set (autovacuum_enabled = off);
  insert into app_public.currencies values ('EUR', 2);
  insert into app_public.dealers (id, company_name, country, dealer_type)
  select md5('dealer ' || n)::uuid, 'Test', case when n % 100 = 0 then 'AT' else 'DE' end, 'general' from generate_series(0, 199) as n;
  insert into app_public.listings (
    dealer_id, id, country, status, title, module, price, currency, idempotency_key, payload_hash, created_by, created_at,
    published_at, expires_at, is_premium, premium_until)
  select md5('dealer ' || n % 200)::uuid, md5('listing ' || n)::uuid, case when n % 100 = 0 then 'AT' else 'DE' end,
    case when n % 10 = 9 then 'withdrawn' else 'active' end::app_public.listing_status, 'A car',
    case when n % 1000 < 5 then 'boat' else 'auto' end, 9900, 'EUR', gen_random_uuid(), '', gen_random_uuid(), t.at,
    case when n % 3 > 0 then t.at end, case when n % 3 > 0 then now() + interval '9 days' end,
    n % 50 = 1, case when n % 50 = 1 then now() + interval '1 day' end
  from generate_series(1, ${ROWS}) as n, lateral (select now() - n * interval '1 minute' as at) as t`

let database: TestDatabase
const roles: Record<string, GraphqlInProcess> = {}

beforeAll(async () => {
  database = await cloneDatabase()
  const userId = await makeUser(database.owner)
  await database.superuser.query(`begin; ${MAKE}; commit`)
  roles.visitor = await startGraphql(database, 1, null)
  roles.dealer = await startGraphql(database, 1, { userId, role: 'dealer' })
  roles.admin = await startGraphql(database, 1)
})

afterAll(async () => {
  for (const graphql of Object.values(roles)) await graphql.stop()
  await database.drop()
})

type Page = { nodes: { id: string }[]; pageInfo: { endCursor: string | null } }

async function read(role: string, args: string): Promise<Page> {
  const query = `{ listings(orderBy: [PREMIUM_FIRST] ${args}) { nodes { id } pageInfo { endCursor } } }`
  return (await roles[role]?.run(query))?.listings as Page
}

/** The rows and index entries of listings that a role has read so far. */
async function total(role: string): Promise<number> {
  // the pool has one connection
  await roles[role]?.pool.query('select pg_stat_force_next_flush()')
  return Number(
    await single(
      database.superuser,
      `select seq_tup_read + (select sum(idx_tup_read) from pg_stat_user_indexes as i where i.relid = t.relid)
       from pg_stat_user_tables as t where t.relid = 'app_public.listings'::regclass`,
    ),
  )
}

/** The listings that a page shows, and the rows and index entries that the database reads for it. */
async function readRows(role: string, args: string): Promise<{ shown: number; count: number }> {
  const before = await total(role)
  const { nodes } = await read(role, args)
  return { shown: nodes.length, count: (await total(role)) - before }
}

async function expectFewRows(role: string, args: string): Promise<void> {
  const { shown, count } = await readRows(role, args)
  expect(shown).toBe(/ZZ|none/.test(args) ? 0 : 20)
  expect(count).toBeLessThan(MOST)
}

const FIRST_PAGES = [
  ['visitor', ''],
  ['visitor', 'last: 20'],
  ['visitor', 'condition: {country: "DE"}'],
  ['visitor', 'condition: {country: "AT"}'],
  ['visitor', 'condition: {country: "ZZ"}'],
  ['visitor', 'condition: {module: "auto"}'],
  ['visitor', 'condition: {module: "boat"}'],
  ['visitor', 'condition: {module: "none"}'],
  ['visitor', 'condition: {country: "DE", module: "auto"}'],
  ['visitor', 'condition: {country: "AT", module: "boat"}'],
  ['admin', 'condition: {status: ACTIVE}'],
  ['admin', 'condition: {status: ACTIVE, country: "AT"}'],
] as const

test.each(FIRST_PAGES)('without statistics, a %s reads few rows for a page: %s', expectFewRows)

describe('with statistics', () => {
  beforeAll(async () => {
    await database.superuser.query('analyze')
  })

  test.each([
    ...FIRST_PAGES,
    ['visitor', 'condition: {currency: "EUR", priceMin: "100"}'],
    ['dealer', 'condition: {status: ACTIVE}'],
  ] as const)('a %s reads few rows for a page: %s', expectFewRows)

  test('a page far behind the first one reads no more than that', async () => {
    let after = ''
    for (let page = 0; page < 50; page += 1) {
      const { pageInfo } = await read('visitor', `first: 100 ${after}`)
      after = `after: "${pageInfo.endCursor}"`
    }
    await expectFewRows('visitor', `first: 20 ${after}`)
  })
})
