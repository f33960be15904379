import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { footprint } from '../support/ledger.ts'
import { makeCountry, makeDealer, makeUser } from '../support/world.ts'

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

/** The SQLSTATE of a refusal, and the field that the comment of the broken constraint names. */
async function refusedField(client: pg.ClientBase, input: Input): Promise<{ code?: string; field?: string }> {
  await client.query('savepoint refused')
  try {
    await create(client, input)
  } catch (error) {
    await client.query('rollback to savepoint refused')
    const { code, constraint } = error as pg.DatabaseError
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
  ['a title of blanks', 'title', { title: '   ' }],
  ['an empty title', 'title', { title: '' }],
  ['a title of 201 characters', 'title', { title: 't'.repeat(201) }],
  ['a description of 10,001 characters', 'description', { description: 'd'.repeat(10_001) }],
  ['an empty module', 'module', { module: '' }],
  ['a module of two words', 'module', { module: 'two words' }],
  ['a module that begins with a digit', 'module', { module: '1auto' }],
  ['a module of 41 characters', 'module', { module: 'm'.repeat(41) }],
  ['a module with a line end', 'module', { module: 'auto\n' }],
  ['a negative price', 'price', { price: '-0.01' }],
  ['a price that is no number', 'price', { price: 'NaN' }],
  ['an infinite price', 'price', { price: 'Infinity' }],
  ['a price without end downwards', 'price', { price: '-Infinity' }],
  ['a price of a billion thousands', 'price', { price: '1000000000000' }],
  ['a price with 5 decimal places', 'price', { price: '1.00001' }],
  ['attributes that are a list', 'attributes', { attributes: '[]' }],
  ['attributes that are a word', 'attributes', { attributes: '"red"' }],
  ['attributes that are the JSON null', 'attributes', { attributes: 'null' }],
  ['51 images', 'images', { images: Array(51).fill('https://example.com/1.jpg') }],
  ['an image that is nothing', 'images', { images: ['https://example.com/1.jpg', null] }],
  ['lists of images in a list', 'images', { images: [['https://example.com/1.jpg']] }],
]

test.each(REFUSED)('%s is refused and names the field %s', (_what, field, input) =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    expect(await refusedField(client, input)).toEqual({ code: '23514', field })
    await become(client, 'owner')
    expect(await footprint(client, dealerId)).toMatchObject({ listings: 0, consumptions: 0, invoices: 0 })
  }),
)

test('a currency that is not known is refused and names its field', () =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    for (const currency of ['XXX', 'eur', '']) {
      expect(await refusedField(client, { currency })).toEqual({ code: '23503', field: 'currency' })
    }
  }))

test('what is left out is refused', () =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    for (const field of ['title', 'module', 'price', 'currency']) {
      expect(await refusedField(client, { [field]: null })).toMatchObject({ code: '23502' })
    }
  }))

const TAKEN: [string, Input][] = [
  ['a title of 200 characters with blanks around it', { title: ` ${'t'.repeat(200)} ` }],
  ['a price of nothing', { price: '0' }],
  ['the highest price', { price: '999999999999.9999' }],
  ['zeros beyond 4 decimal places that say nothing', { price: '1.0000' }],
  ['50 images', { images: Array(50).fill('https://example.com/1.jpg') }],
  ['no images', { images: [] }],
  ['an empty object of attributes', { attributes: {} }],
  ['a description of 10,000 characters', { description: 'd'.repeat(10_000) }],
]

test.each(TAKEN)('%s is taken', (_what, input) =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    expect((await create(client, input)).rowCount).toBe(1)
  }),
)

const LEDGER = `insert into app_public.listing_consumptions (dealer_id, listing_id, kind, source, subscription_id, price_config_id,
    invoice_item_id, net_amount, vat_rate, vat_amount, gross_amount, currency, created_by)
  select dealer_id, gen_random_uuid(), 'publication', $1::app_public.consumption_source,
    case when $2 then gen_random_uuid() end, case when $3 then price_config_id end, case when $4 then invoice_item_id end,
    $5::numeric, 19, $6::numeric, $7::numeric, 'EUR', created_by
  from app_public.listing_consumptions`

const LIES: [string, unknown[]][] = [
  ['a free listing that names a subscription', ['free_quota', true, false, false, 0, 0, 0]],
  ['an included listing without a subscription', ['subscription_quota', false, false, false, 0, 0, 0]],
  ['an included listing with an invoice item', ['subscription_quota', true, false, true, 0, 0, 0]],
  ['a paid listing without an invoice item', ['paid_extra', false, true, false, 5, 0.95, 5.95]],
  ['a paid listing without a price', ['paid_extra', false, false, true, 5, 0.95, 5.95]],
  ['a free listing that costs', ['free_quota', false, false, false, 5, 0.95, 5.95]],
  ['amounts that do not add up', ['paid_extra', false, true, true, 5, 0.95, 5.96]],
  ['a negative amount', ['paid_extra', false, true, true, -5, -0.95, -5.95]],
]

test.each(LIES)('the ledger does not take %s', (_what, values) =>
  rolledBack(database, async client => {
    await become(client, { dealer: userId })
    await create(client, {})
    await become(client, 'owner')
    expect(await refusal(client, LEDGER, values)).toBe('23514')
  }),
)

test('a key of a dealer makes one listing, whatever the code does', () =>
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
