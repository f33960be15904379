/** Subscriptions, purchases, prices and quota a microsecond before, at and after each bound. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { around, atEach, cloneFrozen, freeze, NOON } from '../support/frozenClock.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  publish,
  single,
} from '../support/testData.ts'

const END = `${NOON} + interval '30 days'`
const TIMES = { startAt: NOON, endAt: END }

let database: TestDatabase
let userId: string
let dealerId: string
let packageId: string

beforeAll(async () => {
  database = await cloneFrozen()
  await makeCountry(database.owner, { freeListings: 0 })
  userId = await makeAdminUser(database.owner)
  dealerId = await makeDealer(database.owner, userId)
  packageId = await makePackage(database.owner)
})

afterAll(() => database.drop())

/** The SQLSTATE of the refusal, or `ok`. */
async function outcome(client: pg.ClientBase, sql: string, values: unknown[]): Promise<string> {
  await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
  return refusal(client, sql, values).catch(() => 'ok')
}

const statuses = async (client: pg.ClientBase) =>
  (await client.query('select status from app_public.dealer_subscriptions order by status')).rows.map(
    row => row.status,
  )

/** Runs the statement at each moment around `moment`, with these subscriptions, and returns all statuses after it. */
const statusesAt = (moment: string, options: object[], sql: string, values: unknown[] = []) =>
  atEach(database, moment, async client => {
    for (const one of options) await makeSubscription(client, dealerId, { packageId, ...TIMES, ...one })
    await client.query(sql, values)
    return statuses(client)
  })

test('a subscription can be cancelled until a microsecond before its end', async () => {
  const outcomes = await atEach(database, END, async client => {
    const id = await makeSubscription(client, dealerId, { packageId, ...TIMES })
    return outcome(client, 'select app_public.cancel_subscription($1)', [id])
  })
  expect(outcomes).toEqual(['ok', 'FC008', 'FC008'])
})

test.each([
  ['expire_subscriptions', 'select app_private.expire_subscriptions()'],
  ['a batch', 'select app_private.expire_rows(array(select ctid from app_public.dealer_subscriptions))'],
])('a subscription expires exactly at its end: %s', async (_by, sql) => {
  expect(await statusesAt(END, [{}], sql)).toEqual([['active'], ['expired'], ['expired']])
})

test('a payment expires the subscription that ends at that moment', async () => {
  const sql = 'select app_private.expire_ended_subscription($1, app_private.frozen_now())'
  expect(await statusesAt(END, [{}], sql, [dealerId])).toEqual([['active'], ['expired'], ['expired']])
})

test('a pending subscription starts exactly at the end of a cancelled one', async () => {
  const started = await statusesAt(
    END,
    [{ status: 'cancelled' }, { status: 'pending' }],
    'select app_private.activate_pending_subscriptions()',
  )
  expect(started).toEqual([
    ['pending', 'cancelled'],
    ['active', 'cancelled'],
    ['active', 'cancelled'],
  ])
})

test('a subscription that starts lasts its days of 24 hours, whatever the time zone', async () => {
  await rolledBack(database, async client => {
    await client.query("set local timezone to 'Europe/Berlin'")
    await freeze(client, "timestamptz '2026-03-28 12:00Z'")
    await makeSubscription(client, dealerId, { packageId, status: 'pending' })
    await client.query('select app_private.activate_pending_subscriptions()')
    const length =
      "select (end_at - start_at = 30 * interval '24 hours') as exact from app_public.dealer_subscriptions"
    expect(await single(client, length)).toBe(true)
  })
})

test('the plan and the batches of a run contain a subscription that ends exactly then', async () => {
  const found = await atEach(database, END, async client => {
    await makeSubscription(client, dealerId, { packageId, ...TIMES })
    const { rows } = await client.query(
      `select p.due, (select count(*)::int from app_private.find_due_batches('-infinity', app_private.frozen_now(), 10, 10)) as until,
         (select count(*)::int from app_private.find_due_batches(app_private.frozen_now(), 'infinity', 10, 10)) as since
       from app_private.plan_expiry() as p`,
    )
    return Object.values(rows[0]).map(Number)
  })
  expect(found).toEqual([
    [0, 0, 1],
    [1, 1, 1],
    [1, 1, 0],
  ])
})

test('the metric counts a subscription as due exactly from its end on', async () => {
  const due = await atEach(database, END, async client => {
    await makeSubscription(client, dealerId, { packageId, ...TIMES })
    return single(client, 'select value from app_private.subscription_metrics()')
  })
  expect(due).toEqual([0, 1, 1])
})

test.each([
  ['active', ['paid_extra', 'subscription_quota', 'subscription_quota']],
  ['cancelled', ['paid_extra', 'subscription_quota', 'subscription_quota']],
])('a subscription gives quota exactly from its start on: %s', async (status, expected) => {
  const sources = await sourcesAt(NOON, client =>
    makeSubscription(client, dealerId, { packageId, ...TIMES, status }),
  )
  expect(sources).toEqual(expected)
})

test.each(['active', 'cancelled'])('a subscription gives no quota exactly at its end: %s', async status => {
  const sources = await sourcesAt(END, client =>
    makeSubscription(client, dealerId, { packageId, ...TIMES, status }),
  )
  expect(sources).toEqual(['subscription_quota', 'paid_extra', 'paid_extra'])
})

/** What pays for a publication at each moment. */
function sourcesAt(moment: string, prepare: (client: pg.PoolClient) => Promise<unknown>): Promise<string[]> {
  return atEach(database, moment, async client => {
    await prepare(client)
    const decide = "select source from app_private.decide_publication($1, 'DE', app_private.frozen_now())"
    return single(client, decide, [dealerId])
  })
}

test.each([1, 7, 30])('a free listing counts for exactly %d days of 24 hours', async days => {
  const sources = await sourcesAt(`${NOON} + ${days} * interval '24 hours'`, async client => {
    await client.query(
      `insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
       values ('DE', 'dealer', 1, $1, '(,)')`,
      [days],
    )
    const now = await single(client, "select current_setting('forecourt.frozen_now')")
    await freeze(client, NOON)
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    await publish(client, dealerId)
    await freeze(client, `timestamptz '${now}'`)
  })
  expect(sources).toEqual(['paid_extra', 'free_quota', 'free_quota'])
})

const VALIDITIES: [string, string, string][] = [
  [
    'app_public.vat_rates',
    'VAT rate',
    "select vat_rate::text as found from app_private.pass_pricing_gate('FR', 'dealer', null, app_private.frozen_now())",
  ],
  [
    'app_public.price_configs',
    'price',
    "select unit_price_net::text as found from app_private.find_price('FR', 'dealer', 'pay_per_listing', app_private.frozen_now())",
  ],
]

test.each(VALIDITIES)(
  'a row of %s is valid from its start until just before its end',
  async (table, _kind, sql) => {
    for (const [bound, expected] of [
      [NOON, ['FC005', 'ok', 'ok']],
      [END, ['ok', 'FC005', 'FC005']],
    ] as const) {
      const outcomes = await atEach(database, bound, async client => {
        await makeCountry(client, { country: 'FR', price: '5.00' })
        await client.query(`alter table ${table} disable trigger user`)
        await client.query(`update ${table} set valid = tstzrange(${NOON}, ${END}) where country = 'FR'`)
        return outcome(client, sql, [])
      })
      expect(outcomes).toEqual(expected)
    }
  },
)

test('an open purchase blocks the next one until a microsecond before its expiry, and is void from then on', async () => {
  const BUY = 'select app_public.buy_package($1, $2, $3)'
  const outcomes = await atEach(database, `${NOON} + interval '336 hours'`, async client => {
    const now = await single(client, "select current_setting('forecourt.frozen_now')")
    await freeze(client, NOON)
    await outcome(client, BUY, [dealerId, packageId, randomUUID()])
    const expiry = `select expires_at = ${NOON} + interval '336 hours' as exact from app_public.checkouts`
    expect(await single(client, expiry)).toBe(true)
    await freeze(client, `timestamptz '${now}'`)
    const result = await outcome(client, BUY, [dealerId, packageId, randomUUID()])
    const voided = await single(client, "select count(*)::int from app_public.invoices where status = 'void'")
    return [result, voided]
  })
  expect(outcomes).toEqual([
    ['FC008', 0],
    ['ok', 1],
    ['ok', 1],
  ])
})

test('a monthly invoice can be paid exactly from the start of the next month (UTC) on', async () => {
  const outcomes = await atEach(database, "timestamptz '2026-06-01 00:00Z'", async client => {
    await client.query("set local timezone to 'America/New_York'")
    const id = await single(
      client,
      `insert into app_public.invoices (dealer_id, kind, country, currency, period_start)
       values ($1, 'monthly', 'DE', 'EUR', '2026-05-01') returning id`,
      [dealerId],
    )
    return outcome(client, 'select app_public.pay_invoice($1)', [id])
  })
  expect(outcomes).toEqual(['FC008', 'ok', 'ok'])
})

test('an item belongs to the month (UTC) in which it is made, exactly', async () => {
  const months = await atEach(database, "timestamptz '2026-06-01 00:00Z'", async client => {
    await client.query("set local timezone to 'America/New_York'")
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    await publish(client, dealerId)
    return single(client, "select period_start::text from app_public.invoices where kind = 'monthly'")
  })
  expect(months).toEqual(['2026-05-01', '2026-06-01', '2026-06-01'])
})

test('a new price replaces the one that is valid at its start, from exactly then on', () =>
  rolledBack(database, async client => {
    await client.query(`select app_private.set_price('DE', 'dealer', 'pay_per_listing', 6, ${NOON})`)
    const prices: string[] = []
    const find =
      "select unit_price_net::numeric::int from app_private.find_price('DE', 'dealer', 'pay_per_listing', "
    for (const at of around(NOON)) prices.push(await single(client, `${find}${at})`))
    expect(prices).toEqual([5, 6, 6])
    const again = `select app_private.set_price('DE', 'dealer', 'pay_per_listing', 7, ${NOON})`
    expect(await refusal(client, again)).toBe('23P01')
  }))

test('a run is told that listings are published for exactly a second after the last one', async () => {
  const publishing = await atEach(database, `${NOON} + interval '1 second'`, async client => {
    const now = await single(client, "select current_setting('forecourt.frozen_now')")
    await freeze(client, NOON)
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    await publish(client, dealerId)
    await freeze(client, `timestamptz '${now}'`)
    return single(client, 'select is_publishing from app_private.run_expiry_batch($1, $2)', [
      randomUUID(),
      '{}',
    ])
  })
  expect(publishing).toEqual([true, false, false])
})

test('batches have their size, and the last one has the rest', () =>
  rolledBack(database, async client => {
    for (let number = 0; number < 5; number += 1) {
      const other = await makeDealer(client, userId)
      await makeSubscription(client, other, { packageId, ...TIMES })
    }
    const sizes = async (size: number, count: number) =>
      (
        await client.query(
          "select cardinality(tids)::int as size from app_private.find_due_batches('-infinity', 'infinity', $1, $2)",
          [size, count],
        )
      ).rows.map(row => row.size)
    expect(await sizes(2, 10)).toEqual([2, 2, 1])
    expect(await sizes(2, 2)).toEqual([2, 2])
    expect(await sizes(5, 1)).toEqual([5])
    expect(await sizes(4, 1)).toEqual([4])
    await freeze(client, END)
    const left: string[] = []
    for (let call = 0; call < 4; call += 1) {
      left.push(await single(client, 'select app_private.expire_subscriptions(2)'))
    }
    expect(left).toEqual([2, 2, 1, 0])
  }))
