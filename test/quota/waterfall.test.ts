/** The order of the sources that pay for a listing: free quota, subscription quota, price. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { countDealerRows, countSources, readCharges } from '../support/ledger.ts'
import {
  type Country,
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  publish,
} from '../support/testData.ts'

const PUBLISH = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"
const DECIDE = `select source, free_remaining, subscription_remaining, subscription_id
  from app_private.decide_publication($1, 'DE', $2)`

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

type Work = (client: pg.PoolClient, dealerId: string, userId: string) => Promise<void>
/** Runs `work` in a configured country with a dealer whose owner is the current user, and rolls everything back. */
function withDealer(country: Country, work: Work): Promise<void> {
  return rolledBack(database, async client => {
    await makeCountry(client, country)
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId, country.country)
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    await work(client, dealerId, userId)
  })
}

test('with 2 free and 2 included listings, each further listing costs 5.00 plus 19 % VAT', () =>
  withDealer({ freeListings: 2 }, async (client, dealerId) => {
    await makeSubscription(client, dealerId, { listings: 2 })
    for (let number = 1; number <= 7; number += 1) await publish(client, dealerId)
    expect(await readCharges(client, dealerId)).toEqual([
      'free_quota 0.00',
      'free_quota 0.00',
      'subscription_quota 0.00',
      'subscription_quota 0.00',
      'paid_extra 5.95',
      'paid_extra 5.95',
      'paid_extra 5.95',
    ])
    const { rows } = await client.query(
      'select kind, status, currency, net_total, vat_total, gross_total from app_public.invoices',
    )
    expect(rows).toEqual([
      {
        kind: 'monthly',
        status: 'draft',
        currency: 'EUR',
        net_total: '15.00',
        vat_total: '2.85',
        gross_total: '17.85',
      },
    ])
  }))

test('the ledger and the invoice have the same price, VAT rate and currency for a paid listing', () =>
  withDealer(
    { country: 'CH', currency: 'CHF', vatRate: 8.1, price: '4.99' },
    async (client, dealerId, userId) => {
      // the price and the currency of the car do not affect the charge
      await client.query("insert into app_public.currencies values ('EUR', 2)")
      const listingId = await publish(client, dealerId)
      const amounts = {
        net_amount: '4.99',
        vat_rate: '8.10',
        vat_amount: '0.40',
        gross_amount: '5.39',
        currency: 'CHF',
      }
      const ledger = await client.query('select * from app_public.listing_consumptions')
      const items = await client.query('select * from app_public.invoice_items')
      const prices = await client.query('select * from app_public.price_configs')
      expect(ledger.rows).toEqual([
        expect.objectContaining({
          ...amounts,
          listing_id: listingId,
          source: 'paid_extra',
          subscription_id: null,
          price_config_id: prices.rows[0].id,
          invoice_item_id: items.rows[0].id,
          created_by: userId,
        }),
      ])
      expect(items.rows).toEqual([
        expect.objectContaining({
          ...amounts,
          unit_price_net: '4.99',
          discount: '0.00',
          price_config_id: prices.rows[0].id,
          price_version: 1,
          country: 'CH',
        }),
      ])
    },
  ))

test('a package that forbids overage refuses listings beyond its quota, although there is a price', () =>
  withDealer({}, async (client, dealerId) => {
    await makeSubscription(client, dealerId, { listings: 1, overage: 'block' })
    await publish(client, dealerId)
    const before = await countDealerRows(client, dealerId)
    expect(await refusal(client, PUBLISH, [dealerId])).toBe('FC009')
    expect(await countDealerRows(client, dealerId)).toEqual(before)
  }))

test('after the end of a package that forbids overage, the price applies', () =>
  withDealer({}, async (client, dealerId) => {
    await makeSubscription(client, dealerId, {
      listings: 0,
      overage: 'block',
      endAt: "now() - interval '1 second'",
    })
    await publish(client, dealerId)
    expect(await countSources(client, dealerId)).toEqual({ paid_extra: 1 })
  }))

test('free quota is used before a used-up package that forbids overage', () =>
  withDealer({ freeListings: 1 }, async (client, dealerId) => {
    await makeSubscription(client, dealerId, { listings: 0, overage: 'block' })
    await publish(client, dealerId)
    expect(await countSources(client, dealerId)).toEqual({ free_quota: 1 })
    expect(await refusal(client, PUBLISH, [dealerId])).toBe('FC009')
  }))

test('a subscription gives no quota after its end, even before an expiry run', () =>
  withDealer({ price: null }, async (client, dealerId) => {
    await makeSubscription(client, dealerId, { endAt: "clock_timestamp() - interval '1 microsecond'" })
    expect(await refusal(client, PUBLISH, [dealerId])).toBe('FC005')
    expect(await countDealerRows(client, dealerId)).toMatchObject({ listings: 0, used: 0 })
  }))

test('a subscription gives quota from its start until just before its end', () =>
  withDealer({}, async (client, dealerId) => {
    const id = await makeSubscription(client, dealerId, { startAt: "'2026-01-01Z'", endAt: "'2026-02-01Z'" })
    const at = async (moment: string) => (await client.query(DECIDE, [dealerId, moment])).rows[0]
    const withoutQuota = {
      source: 'paid_extra',
      free_remaining: 0,
      subscription_remaining: 0,
      subscription_id: null,
    }
    const withQuota = {
      source: 'subscription_quota',
      free_remaining: 0,
      subscription_remaining: 10,
      subscription_id: id,
    }
    expect(await at('2025-12-31 23:59:59.999999Z')).toEqual(withoutQuota)
    expect(await at('2026-01-01 00:00:00Z')).toEqual(withQuota)
    expect(await at('2026-01-31 23:59:59.999999Z')).toEqual(withQuota)
    expect(await at('2026-02-01 00:00:00Z')).toEqual(withoutQuota)
  }))

test('a cancelled subscription keeps its quota until its end', () =>
  withDealer({}, async (client, dealerId) => {
    await makeSubscription(client, dealerId, {
      status: 'cancelled',
      startAt: "'2026-01-01Z'",
      endAt: "'2026-02-01Z'",
    })
    const source = async (moment: string) => (await client.query(DECIDE, [dealerId, moment])).rows[0].source
    expect(await source('2026-01-31 23:59:59.999999Z')).toBe('subscription_quota')
    expect(await source('2026-02-01 00:00:00Z')).toBe('paid_extra')
  }))

test('a subscription that is expired, or cancelled before its start, gives no quota', () =>
  withDealer({}, async (client, dealerId) => {
    const packageId = await makePackage(client)
    await makeSubscription(client, dealerId, { packageId, status: 'expired' })
    await client.query(
      `insert into app_public.dealer_subscriptions (dealer_id, package_id, status, duration_days, included_listing_quota)
       values ($1, $2, 'cancelled', 30, 10)`,
      [dealerId, packageId],
    )
    await publish(client, dealerId)
    expect(await countSources(client, dealerId)).toEqual({ paid_extra: 1 })
  }))

test('the subscription that ends first is used first, whether active or cancelled', () =>
  withDealer({}, async (client, dealerId) => {
    const later = await makeSubscription(client, dealerId, {
      listings: 1,
      endAt: "'infinity'",
    })
    const sooner = await makeSubscription(client, dealerId, {
      listings: 1,
      status: 'cancelled',
      endAt: "now() + interval '8 days'",
    })
    for (let number = 1; number <= 3; number += 1) await publish(client, dealerId)
    const { rows } = await client.query(
      'select subscription_id from app_public.listing_consumptions order by created_at',
    )
    expect(rows.map(({ subscription_id }) => subscription_id)).toEqual([sooner, later, null])
  }))

test('the free quota counts the free listings of the last 30 days, exact to the microsecond', () =>
  withDealer({ freeListings: 2 }, async (client, dealerId) => {
    const oldId = await publish(client, dealerId)
    await client.query("reset role; set local session_replication_role = 'replica'")
    const moveTo = 'update app_public.listing_consumptions set created_at = $2 where listing_id = $1'
    await client.query(moveTo, [oldId, '2026-01-01 12:00:00Z'])
    await client.query('set local role forecourt_test_owner')
    const remaining = async (moment: string) =>
      (await client.query(DECIDE, [dealerId, moment])).rows[0].free_remaining
    expect(await remaining('2026-01-31 11:59:59.999999Z')).toBe(1)
    expect(await remaining('2026-01-31 12:00:00Z')).toBe(2)
  }))

test('a free listing older than the period no longer counts against the free quota', () =>
  withDealer({ freeListings: 2 }, async (client, dealerId) => {
    for (let number = 1; number <= 3; number += 1) await publish(client, dealerId)
    await client.query("reset role; set local session_replication_role = 'replica'")
    await client.query(
      `update app_public.listing_consumptions set created_at = created_at - interval '30 days'
       where listing_id = (select min(listing_id::text)::uuid from app_public.listing_consumptions)`,
    )
    await client.query("set local session_replication_role = 'origin'; set local role forecourt_test_owner")
    await publish(client, dealerId)
    await publish(client, dealerId)
    expect(await countSources(client, dealerId)).toEqual({ free_quota: 3, paid_extra: 2 })
  }))

test('paid and included listings and those of other dealers do not use the free quota', () =>
  withDealer({ freeListings: 0 }, async (client, dealerId, userId) => {
    const otherId = await makeDealer(client, userId)
    await makeSubscription(client, dealerId, { listings: 1 })
    for (let number = 1; number <= 3; number += 1) await publish(client, dealerId)
    await client.query(
      `insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
       values ('DE', 'dealer', 1, 30, '[2020-01-01,)'), ('DE', 'individual', 9, 30, '[2020-01-01,)')`,
    )
    await publish(client, otherId)
    await publish(client, dealerId)
    await publish(client, dealerId)
    expect(await countSources(client, dealerId)).toEqual({
      subscription_quota: 1,
      free_quota: 1,
      paid_extra: 3,
    })
    expect(await countSources(client, otherId)).toEqual({ free_quota: 1 })
  }))

test('a dealer does not get the free quota of private sellers or of another country', () =>
  withDealer({}, async (client, dealerId) => {
    await client.query(
      `insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
       values ('DE', 'individual', 9, 30, '[2020-01-01,)'), ('AT', 'dealer', 9, 30, '[2020-01-01,)')`,
    )
    await publish(client, dealerId)
    expect(await countSources(client, dealerId)).toEqual({ paid_extra: 1 })
  }))

test('a free quota is valid from its start until just before its end', () =>
  withDealer({}, async (client, dealerId) => {
    await client.query(
      `insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
       values ('DE', 'dealer', 3, 30, '[2026-01-01Z, 2026-02-01Z)')`,
    )
    const at = async (moment: string) =>
      (await client.query(DECIDE, [dealerId, moment])).rows[0].free_remaining
    expect(await at('2025-12-31 23:59:59.999999Z')).toBe(0)
    expect(await at('2026-01-01Z')).toBe(3)
    expect(await at('2026-01-31 23:59:59.999999Z')).toBe(3)
    expect(await at('2026-02-01Z')).toBe(0)
  }))

test('used quota cannot be negative or above the included quota', () =>
  withDealer({}, async (client, dealerId) => {
    const packageId = await makePackage(client)
    await makeSubscription(client, dealerId, { packageId, listings: 2 })
    for (const kind of ['listing', 'premium', 'highlight']) {
      for (const used of [-1, 3]) {
        const update = `update app_public.dealer_subscriptions set used_${kind}_quota = ${used}`
        expect(await refusal(client, update)).toBe('23514')
        const insert = `insert into app_public.dealer_subscriptions
          (dealer_id, package_id, duration_days, included_listing_quota, included_premium_quota, included_highlight_quota, used_${kind}_quota)
          values ($1, $2, 30, 2, 2, 2, ${used})`
        expect(await refusal(client, insert, [dealerId, packageId])).toBe('23514')
      }
    }
  }))
