/** `totalCount` of connections with more rows than it counts. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { TOTAL_COUNT_MAXIMUM } from '../../src/graphql/totalCount.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { type GraphqlInProcess, startGraphql } from '../support/graphqlInProcess.ts'

/** Enough that reading all of them is far more than reading the rows that are counted. */
const MANY = 30_000
/** Rows of an invoice each, around the maximum. */
const ITEMS = [0, 3, TOTAL_COUNT_MAXIMUM - 1, TOTAL_COUNT_MAXIMUM, TOTAL_COUNT_MAXIMUM + 49]

let database: TestDatabase
let graphql: GraphqlInProcess

beforeAll(async () => {
  database = await cloneDatabase()
  // without triggers and foreign keys, so that a row needs no other rows
  await database.superuser.query(`
    begin;
    set local session_replication_role to replica;
    insert into app_public.currencies values ('EUR', 2);
    insert into app_public.listings (
      dealer_id, country, status, title, module, price, currency, idempotency_key, payload_hash, created_by)
    select md5('dealer')::uuid, 'DE', case when n <= 5 then 'withdrawn' else 'active' end::app_public.listing_status, 'A car', 'auto', 9900,
      'EUR', gen_random_uuid(), '', gen_random_uuid()
    from generate_series(1, ${MANY}) as n;
    insert into app_public.invoices (dealer_id, id, kind, country, currency)
    select md5('dealer')::uuid, md5('invoice ' || n)::uuid, 'package', 'AA', 'EUR'
    from generate_series(1, ${ITEMS.length}) as n;
    insert into app_public.invoice_items (
      dealer_id, invoice_id, description, package_id, unit_price_net, net_amount, vat_rate, vat_amount, gross_amount, country, currency)
    select md5('dealer')::uuid, md5('invoice ' || n)::uuid, 'Test', gen_random_uuid(), 5, 5, 20, 1, 6, 'AA', 'EUR'
    from unnest(array[${ITEMS}]) with ordinality as i (items, n), generate_series(1, items);
    commit`)
  await database.superuser.query('vacuum analyze app_public.listings, app_public.invoice_items')
  // one connection, because each backend reports the rows that it has read
  graphql = await startGraphql(database, 1)
})

afterAll(async () => {
  await graphql.stop()
  await database.drop()
})

/** The rows of listings that statements have read so far, through the table and its indexes. */
async function rowsRead(): Promise<number> {
  await graphql.pool.query('select pg_stat_force_next_flush()')
  const { rows } = await database.superuser.query<{ read: number }>(`
    select (seq_tup_read + (select sum(idx_tup_read) from pg_stat_user_indexes as i where i.relid = t.relid))::int as read
    from pg_stat_user_tables as t where t.relid = 'app_public.listings'::regclass`)
  return rows[0]?.read ?? Number.NaN
}

test('totalCount stops at the maximum and does not read the rows beyond it', async () => {
  const before = await rowsRead()
  const data = await graphql.run('{ listings { totalCount } }')
  expect(data).toEqual({ listings: { totalCount: 10_001 } })
  const read = (await rowsRead()) - before
  expect(read).toBeGreaterThanOrEqual(10_001)
  // Postgres reads one row more to know that the window has ended
  expect(read).toBeLessThanOrEqual(10_100)
})

test('totalCount of a connection with a condition counts only its rows', async () => {
  const count = async (status: string) => {
    const data = await graphql.run(`{ listings(condition: { status: ${status} }) { totalCount } }`)
    return (data.listings as { totalCount: number }).totalCount
  }
  expect([await count('WITHDRAWN'), await count('SOLD'), await count('ACTIVE')]).toEqual([5, 0, 10_001])
})

test.each(['', '(first: 0)', '(first: 2, orderBy: [CREATED_AT_DESC])', '(last: 1)'])(
  'totalCount is the same on every page: %s',
  async page => {
    const data = await graphql.run(`{ listings${page} { totalCount nodes { id } pageInfo { hasNextPage } } }`)
    expect(data).toMatchObject({ listings: { totalCount: 10_001 } })
  },
)

test('totalCount of the rows of a row is exact up to the maximum, and stops for each row by itself', async () => {
  const data = await graphql.run('{ invoices { nodes { items { totalCount } } } }')
  const { nodes } = data.invoices as { nodes: { items: { totalCount: number } }[] }
  const counts = nodes.map(({ items }) => items.totalCount).sort((one, other) => one - other)
  expect(counts).toEqual([0, 3, 10_000, 10_001, 10_001])
})
