/** Publishing a listing: what is stored, how the idempotency key works, and which callers are refused. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import {
  type As,
  become,
  cloneDatabase,
  refusal,
  rolledBack,
  type TestDatabase,
} from '../support/database.ts'
import { brokenRules, countDealerRows, countSources } from '../support/ledger.ts'
import {
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  publish,
  single,
} from '../support/testData.ts'
import { committed, concurrently, countOutcomes, interleave, sqlstate } from '../support/transactions.ts'

const CREATE = `select * from app_public.create_listing(
  $1, $2, title => $3, module => $4, price => $5, currency => $6, description => $7, attributes => $8, images => $9)`
const INPUT: unknown[] = [
  'A car',
  'auto',
  '9900',
  'EUR',
  'Red',
  { doors: 4, seats: 5 },
  ['https://example.com/1.jpg'],
]

let database: TestDatabase
let userId: string
let packageId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner)
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
})

/** Makes a dealer with a subscription for ten listings. */
async function makeSubscribedDealer(): Promise<string> {
  const dealerId = await makeDealer(database.owner, userId)
  await makeSubscription(database.owner, dealerId, { packageId })
  return dealerId
}

/** Runs `work` in a transaction with this role, and rolls it back. */
function runAs(as: As, work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    await become(client, as)
    await work(client)
  })
}

test('a new listing is pending, has a time-ordered id, and records its publisher', async () => {
  const dealerId = await makeSubscribedDealer()
  const create = () =>
    committed(database, { dealer: userId }, client =>
      client.query(CREATE, [dealerId, randomUUID(), '  A car ', ...INPUT.slice(1)]),
    )
  const [first, second] = [await create(), await create()]
  expect(first.rows).toEqual([
    expect.objectContaining({
      dealer_id: dealerId,
      status: 'pending',
      title: 'A car',
      module: 'auto',
      price: '9900.00',
      currency: 'EUR',
      description: 'Red',
      attributes: { doors: 4, seats: 5 },
      images: ['https://example.com/1.jpg'],
      created_by: userId,
    }),
  ])
  expect(first.rows[0].id < second.rows[0].id).toBe(true)
  expect(first.rows[0].id[14]).toBe('7')
})

test('20 concurrent calls with one key make one listing and one ledger row, and use one unit of quota', async () => {
  const dealerId = await makeSubscribedDealer()
  const key = randomUUID()
  const outcomes = await concurrently(database, { dealer: userId }, 20, client =>
    publish(client, dealerId, key),
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  const ids = outcomes.map(outcome => outcome.status === 'fulfilled' && outcome.value)
  expect(new Set(ids).size).toBe(1)
  expect(await countDealerRows(database.owner, dealerId)).toMatchObject({
    listings: 1,
    consumptions: 1,
    used: 1,
  })
})

test('a repeated call that waits for the first call returns the same listing', async () => {
  const dealerId = await makeSubscribedDealer()
  const values = [dealerId, randomUUID(), ...INPUT]
  const both = { first: { dealer: userId }, second: { dealer: userId } }
  await interleave(database, both, async ({ first, second }) => {
    const { rows } = await first.query(CREATE, values)
    const waiting = await second.startBlocked(CREATE, values)
    await first.commit()
    expect((await waiting.result).rows).toEqual(rows)
    await second.commit()
  })
  expect(await countSources(database.owner, dealerId)).toEqual({ subscription_quota: 1 })
})

test('a different listing that waits for the same key is refused if the first call commits, and succeeds if it rolls back', async () => {
  for (const [end, expected] of [
    ['commit', 'FC007'],
    ['rollback', 'ok'],
  ] as const) {
    const dealerId = await makeSubscribedDealer()
    const key = randomUUID()
    const both = { first: { dealer: userId }, second: { dealer: userId } }
    await interleave(database, both, async ({ first, second }) => {
      await first.query(CREATE, [dealerId, key, ...INPUT])
      const waiting = await second.startBlocked(CREATE, [dealerId, key, 'Another car', ...INPUT.slice(1)])
      await first[end]()
      if (expected === 'ok') expect((await waiting.result).rowCount).toBe(1)
      else expect(await sqlstate(waiting.result)).toBe(expected)
    })
  }
})

const CHANGES: [string, number, unknown][] = [
  ['title', 0, 'A van'],
  ['module', 1, 'truck'],
  ['price', 2, '9900.01'],
  ['currency', 3, 'CHF'],
  ['description', 4, null],
  ['attributes', 5, { doors: 5, seats: 5 }],
  ['images', 6, []],
]

test.each(CHANGES)(
  'a call with a used key and another %s is refused and writes nothing',
  (_field, index, value) =>
    runAs('owner', async client => {
      await client.query("insert into app_public.currencies values ('CHF', 2)")
      const dealerId = await makeDealer(client, userId)
      await become(client, { dealer: userId })
      const key = randomUUID()
      await client.query(CREATE, [dealerId, key, ...INPUT])
      await become(client, 'owner')
      const before = await countDealerRows(client, dealerId)
      await become(client, { dealer: userId })
      expect(await refusal(client, CREATE, [dealerId, key, ...INPUT.with(index, value)])).toBe('FC007')
      await become(client, 'owner')
      expect(await countDealerRows(client, dealerId)).toEqual(before)
    }),
)

test('a repeated call may write the same price and attributes in another form', async () => {
  const dealerId = await makeSubscribedDealer()
  const key = randomUUID()
  await runAs({ dealer: userId }, async client => {
    const { rows } = await client.query(CREATE, [dealerId, key, ...INPUT])
    const same = INPUT.with(2, '9900.000').with(5, { seats: 5, doors: 4 })
    expect((await client.query(CREATE, [dealerId, key, ...same])).rows).toEqual(rows)
  })
})

test('two dealers can use the same key', async () => {
  const [oneId, otherId] = [await makeSubscribedDealer(), await makeSubscribedDealer()]
  const key = randomUUID()
  const ids = await committed(database, { dealer: userId }, async client => [
    await publish(client, oneId, key),
    await publish(client, otherId, key, 'Another car'),
  ])
  expect(new Set(ids).size).toBe(2)
  expect(await countSources(database.owner, otherId)).toEqual({ subscription_quota: 1 })
})

test('a repeated call returns the first result, even if the dealer or the VAT rate has changed since', () =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    await makeSubscription(client, dealerId, { packageId, listings: 1, overage: 'block' })
    const key = randomUUID()
    await become(client, { dealer: userId })
    const id = await publish(client, dealerId, key)
    await become(client, 'owner')
    await client.query('update app_public.dealers set is_active = false, can_publish = false where id = $1', [
      dealerId,
    ])
    await client.query("update app_public.vat_rates set valid = '[2020-01-01, 2020-01-02)'")
    await become(client, { dealer: userId })
    expect(await publish(client, dealerId, key)).toBe(id)
    expect(await refusal(client, CREATE, [dealerId, randomUUID(), ...INPUT])).toBe('FC003')
  }))

test.each([
  ['closed', 'is_active = false'],
  ['suspended', 'can_publish = false'],
])('a %s dealer cannot publish or get a quote', async (_state, change) => {
  const dealerId = await makeSubscribedDealer()
  await database.owner.query(`update app_public.dealers set ${change} where id = $1`, [dealerId])
  await runAs({ dealer: userId }, async client => {
    expect(await refusal(client, CREATE, [dealerId, randomUUID(), ...INPUT])).toBe('FC003')
    expect(await refusal(client, 'select app_public.quote_listing($1)', [dealerId])).toBe('FC003')
  })
  expect(await countDealerRows(database.owner, dealerId)).toMatchObject({ listings: 0, used: 0 })
})

test('a publication is refused when its dealer is suspended while it waits', async () => {
  const dealerId = await makeSubscribedDealer()
  await interleave(
    database,
    { staff: 'owner', publisher: { dealer: userId } },
    async ({ staff, publisher }) => {
      await staff.query('update app_public.dealers set can_publish = false where id = $1', [dealerId])
      const waiting = await publisher.startBlocked(CREATE, [dealerId, randomUUID(), ...INPUT])
      await staff.commit()
      expect(await sqlstate(waiting.result)).toBe('FC003')
    },
  )
})

test('a call by a non-member or a visitor, or for an unknown dealer, is refused and writes nothing', async () => {
  const dealerId = await makeSubscribedDealer()
  const stranger = await makeUser(database.owner)
  const attempts: [As, string, string][] = [
    [{ dealer: stranger }, dealerId, 'FC003'],
    [{ admin: stranger }, dealerId, 'FC003'],
    [{ dealer: '' }, dealerId, 'FC001'],
    ['visitor', dealerId, '42501'],
    [{ dealer: userId }, randomUUID(), 'FC004'],
  ]
  for (const [as, id, expected] of attempts) {
    await runAs(as, async client => {
      expect(await refusal(client, CREATE, [id, randomUUID(), ...INPUT])).toBe(expected)
      expect(await refusal(client, 'select app_public.quote_listing($1)', [id])).toBe(expected)
    })
  }
  expect(await countDealerRows(database.owner, dealerId)).toMatchObject({ listings: 0, used: 0 })
})

test('no role of the API can write to the listings or the ledger directly', async () => {
  const dealerId = await makeSubscribedDealer()
  for (const as of ['visitor', { dealer: userId }, { admin: userId }] as const) {
    await runAs(as, async client => {
      for (const table of ['listings', 'listing_consumptions']) {
        const insert = `insert into app_public.${table} (dealer_id) values ('${dealerId}')`
        expect(await refusal(client, insert)).toBe('42501')
        expect(await refusal(client, `update app_public.${table} set currency = 'EUR'`)).toBe('42501')
        expect(await refusal(client, `delete from app_public.${table}`)).toBe('42501')
      }
    })
  }
})

test('a ledger row cannot refer to the subscription or the listing of another dealer', async () => {
  const [oneId, otherId] = [await makeSubscribedDealer(), await makeSubscribedDealer()]
  const listingId = await committed(database, { dealer: userId }, client => publish(client, oneId))
  const subscriptionId = await single(
    database.owner,
    'select id from app_public.dealer_subscriptions where dealer_id = $1',
    [otherId],
  )
  const insert = `insert into app_public.listing_consumptions
    (dealer_id, listing_id, kind, source, subscription_id, net_amount, vat_rate, vat_amount, gross_amount, currency, created_by)
    values ($1, $2, 'publication', 'subscription_quota', $3, 0, 19, 0, 0, 'EUR', $4)`
  await rolledBack(database, async client => {
    expect(await refusal(client, insert, [otherId, listingId, subscriptionId, userId])).toBe('23503')
    expect(await refusal(client, insert, [oneId, listingId, subscriptionId, userId])).toBe('23505')
  })
})
