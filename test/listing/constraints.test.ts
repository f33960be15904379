/** The constraints on listings and their ledger rows: which values the database refuses, and which field each refusal names. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { countDealerRows } from '../support/ledger.ts'
import { makeCountry, makeDealer, makeUser } from '../support/testData.ts'

let database: TestDatabase
let userId: string
let dealerId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  userId = await makeUser(database.owner)
  dealerId = await makeDealer(database.owner, userId)
})

afterAll(() => database.drop())

type Input = {
  title?: unknown
  module?: unknown
  price?: unknown
  currency?: unknown
  description?: unknown
  attributes?: unknown
  images?: unknown
}

function create(client: pg.ClientBase, input: Input): Promise<pg.QueryResult> {
  const { title = 'A car', module = 'auto', price = '9900', currency = 'EUR' } = input
  const { description = null, attributes = null, images = null } = input
  return client.query('select * from app_public.create_listing($1, $2, $3, $4, $5, $6, $7, $8, $9)', [
    dealerId,
    randomUUID(),
    title,
    module,
    price,
    currency,
    description,
    attributes,
    images,
  ])
}

/** The SQLSTATE of the refusal, and its field: from DETAIL, or from the comment on the broken constraint. */
async function refusedField(client: pg.ClientBase, input: Input): Promise<{ code?: string; field?: string }> {
  await client.query('savepoint refused')
  try {
    await create(client, input)
  } catch (error) {
    await client.query('rollback to savepoint refused')
    const { code, constraint, detail } = error as pg.DatabaseError
    if (code !== undefined && detail?.startsWith('{')) return { code, ...JSON.parse(detail) }
    const { rows } = await client.query<{ field: string }>(
      `select substring(obj_description(oid, 'pg_constraint') from '@field (\\w+)') as field
       from pg_constraint where conname = $1`,
      [constraint],
    )
    return { ...(code && { code }), ...rows[0] }
  }
  throw new Error('was not refused')
}

const REFUSED: [string, string, Input][] = [
  ['a title of spaces', 'title', { title: '   ' }],
  ['an empty title', 'title', { title: '' }],
  ['a title of 201 characters', 'title', { title: 't'.repeat(201) }],
  ['a description of 10,001 characters', 'description', { description: 'd'.repeat(10_001) }],
  ['an empty module', 'module', { module: '' }],
  ['a module of two words', 'module', { module: 'two words' }],
  ['a module that begins with a digit', 'module', { module: '1auto' }],
  ['a module of 41 characters', 'module', { module: 'm'.repeat(41) }],
  ['a module with a line end', 'module', { module: 'auto\n' }],
  ['a negative price', 'price', { price: '-0.01' }],
  ['a price that is not a number', 'price', { price: 'NaN' }],
  ['an infinite price', 'price', { price: 'Infinity' }],
  ['a negative infinite price', 'price', { price: '-Infinity' }],
  ['a price of one trillion', 'price', { price: '1000000000000' }],
  ['a price with 5 decimal places', 'price', { price: '1.00001' }],
  ['attributes that are a list', 'attributes', { attributes: '[]' }],
  ['attributes that are a string', 'attributes', { attributes: '"red"' }],
  ['attributes that are the JSON null', 'attributes', { attributes: 'null' }],
  ['51 images', 'images', { images: Array(51).fill('https://example.com/1.jpg') }],
  ['an image that is null', 'images', { images: ['https://example.com/1.jpg', null] }],
  ['a nested list of images', 'images', { images: [['https://example.com/1.jpg']] }],
]

test.each(REFUSED)('%s is refused, and the refusal names the field %s', (_case, field, input) =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    expect(await refusedField(client, input)).toEqual({ code: '23514', field })
    await become(client, 'owner')
    expect(await countDealerRows(client, dealerId)).toMatchObject({
      listings: 0,
      consumptions: 0,
      invoices: 0,
    })
  }),
)

test('an unknown currency is refused, and the refusal names its field', () =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    for (const currency of ['XXX', 'eur', '']) {
      expect(await refusedField(client, { currency })).toEqual({ code: '23503', field: 'currency' })
    }
  }))

test('a missing required value is refused', () =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    for (const field of ['title', 'module', 'price', 'currency']) {
      expect(await refusedField(client, { [field]: null })).toMatchObject({ code: '23502' })
    }
  }))

const ACCEPTED: [string, Input][] = [
  ['a title of 200 characters between spaces', { title: ` ${'t'.repeat(200)} ` }],
  ['a price of zero', { price: '0' }],
  ['the highest price', { price: '999999999999.9999' }],
  ['a price with 4 decimal places', { price: '1.0000' }],
  ['50 images', { images: Array(50).fill('https://example.com/1.jpg') }],
  ['no images', { images: [] }],
  ['an empty object of attributes', { attributes: {} }],
  ['a description of 10,000 characters', { description: 'd'.repeat(10_000) }],
]

test.each(ACCEPTED)('%s is accepted', (_case, input) =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    expect((await create(client, input)).rowCount).toBe(1)
  }),
)

const INSERT_LEDGER_ROW = `insert into app_public.listing_consumptions (dealer_id, listing_id, kind, source, subscription_id, price_config_id,
    invoice_item_id, net_amount, vat_rate, vat_amount, gross_amount, currency, created_by)
  select dealer_id, gen_random_uuid(), 'publication', $1::app_public.consumption_source,
    case when $2 then gen_random_uuid() end, case when $3 then price_config_id end, case when $4 then invoice_item_id end,
    $5::numeric, 19, $6::numeric, $7::numeric, 'EUR', created_by
  from app_public.listing_consumptions`

const INCONSISTENT_ROWS: [string, unknown[]][] = [
  ['a free listing with a subscription', ['free_quota', true, false, false, 0, 0, 0]],
  ['an included listing without a subscription', ['subscription_quota', false, false, false, 0, 0, 0]],
  ['an included listing with an invoice item', ['subscription_quota', true, false, true, 0, 0, 0]],
  ['a paid listing without an invoice item', ['paid_extra', false, true, false, 5, 0.95, 5.95]],
  ['a paid listing without a price', ['paid_extra', false, false, true, 5, 0.95, 5.95]],
  ['a free listing with an amount', ['free_quota', false, false, false, 5, 0.95, 5.95]],
  ['amounts that do not add up', ['paid_extra', false, true, true, 5, 0.95, 5.96]],
  ['a negative amount', ['paid_extra', false, true, true, -5, -0.95, -5.95]],
]

test.each(INCONSISTENT_ROWS)('the ledger refuses %s', (_case, values) =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    await create(client, {})
    await become(client, 'owner')
    expect(await refusal(client, INSERT_LEDGER_ROW, values)).toBe('23514')
  }),
)

test('a constraint allows one listing for each idempotency key of a dealer', () =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    await create(client, {})
    await become(client, 'owner')
    const again = `insert into app_public.listings
      select r.* from app_public.listings as l,
        jsonb_populate_record(l, jsonb_build_object('id', gen_random_uuid()) || $1::jsonb) as r`
    expect(await refusal(client, again, [{}])).toBe('23505')
    await client.query(again, [{ idempotency_key: randomUUID() }])
  }))
