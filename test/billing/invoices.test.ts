/** Invoices: monthly drafts, immutability, permissions and constraints. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { buy, PAY } from '../support/purchases.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makePackage,
  makeUser,
  publish,
  single,
} from '../support/testData.ts'

let admin: { admin: string }

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  admin = { admin: await makeAdminUser(database.owner) }
})

afterAll(() => database.drop())

/** Runs `work` with a dealer that has one charged listing on its monthly draft invoice, and rolls everything back. */
function withMonthlyDraft(
  work: (client: pg.PoolClient, dealerId: string, userId: string, invoiceId: string) => Promise<void>,
): Promise<void> {
  return rolledBack(database, async client => {
    await makeCountry(client)
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId)
    await become(client, { dealer: userId })
    await publish(client, dealerId)
    await become(client, 'owner')
    const invoiceId = await single(client, 'select id from app_public.invoices')
    await work(client, dealerId, userId, invoiceId)
    await become(client, 'owner')
    expect(await brokenRules(client)).toEqual([])
  })
}

const CLOSE_MONTH = "update app_public.invoices set period_start = (period_start - interval '1 month')::date"

test('a monthly invoice can be paid only after its month has ended', () =>
  withMonthlyDraft(async (client, _dealerId, _userId, invoiceId) => {
    await become(client, admin)
    expect(await refusal(client, PAY, [invoiceId])).toBe('FC008')
    await become(client, 'owner')
    await client.query(CLOSE_MONTH)
    await become(client, admin)
    const { rows } = await client.query(PAY, [invoiceId])
    expect(rows).toEqual([expect.objectContaining({ status: 'paid', gross_total: '5.95' })])
    expect((await client.query(PAY, [invoiceId])).rows).toEqual(rows)
    await become(client, 'owner')
    expect((await client.query('select from app_public.dealer_subscriptions')).rows).toEqual([])
  }))

test('the listings of a month share one draft, and a listing after its payment opens a new draft', () =>
  withMonthlyDraft(async (client, dealerId, userId, invoiceId) => {
    await become(client, { dealer: userId })
    await publish(client, dealerId)
    await become(client, 'owner')
    await client.query(CLOSE_MONTH)
    await become(client, admin)
    await client.query(PAY, [invoiceId])
    await become(client, { dealer: userId })
    await publish(client, dealerId)
    await become(client, 'owner')
    const { rows } = await client.query('select status, gross_total from app_public.invoices order by id')
    expect(rows).toEqual([
      { status: 'paid', gross_total: '11.90' },
      { status: 'draft', gross_total: '5.95' },
    ])
  }))

/** Charges a copy of the listing at a moment. */
const ITEM = `
  with copy as (
    insert into app_public.listings
    select (jsonb_populate_record(l, jsonb_build_object('id', gen_random_uuid(), 'idempotency_key', gen_random_uuid()))).*
    from app_public.listings as l limit 1
    returning *
  )
  select app_private.record_consumption(
    jsonb_populate_record(d, jsonb_build_object('at', $1::timestamptz)), c.id, 'publication', c.created_by)
  from copy as c, app_private.decide_publication(c.dealer_id, 'DE', now()) as d`

test('an item belongs to the UTC month of its creation, whatever the time zone of the session', () =>
  rolledBack(database, async client => {
    await makeCountry(client)
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId)
    await become(client, { dealer: userId })
    await publish(client, dealerId)
    await become(client, 'owner')
    await client.query("set local timezone to 'Asia/Tokyo'")
    for (const moment of ['2025-12-31 23:59:59.999999Z', '2026-01-01 00:00:00Z', '2026-01-31 20:00:00Z']) {
      await client.query(ITEM, [moment])
    }
    const { rows } = await client.query(
      `select i.period_start::text, count(*)::int as items, i.gross_total
       from app_public.invoices as i
       join app_public.invoice_items as it on it.dealer_id = i.dealer_id and it.invoice_id = i.id
       where i.period_start < '2026-02-01' group by i.dealer_id, i.id order by 1`,
    )
    expect(rows).toEqual([
      { period_start: '2025-12-01', items: 1, gross_total: '5.95' },
      { period_start: '2026-01-01', items: 2, gross_total: '11.90' },
    ])
  }))

test('a paid or void invoice cannot be changed', () =>
  withMonthlyDraft(async (client, dealerId, userId, invoiceId) => {
    await client.query(CLOSE_MONTH)
    const packageId = await makePackage(client)
    await become(client, { dealer: userId })
    const voidId = await buy(client, dealerId, packageId)
    await become(client, 'owner')
    await client.query('update app_public.checkouts set expires_at = created_at')
    await become(client, { dealer: userId })
    await buy(client, dealerId, packageId)
    await become(client, admin)
    await client.query(PAY, [invoiceId])
    for (const role of ['owner', 'superuser']) {
      await (role === 'owner' ? become(client, 'owner') : client.query('reset role'))
      for (const id of [invoiceId, voidId]) {
        for (const change of [
          "status = 'draft', paid_at = null",
          'gross_total = gross_total',
          'net_total = 0, vat_total = 0, gross_total = 0',
        ]) {
          const update = `update app_public.invoices set ${change} where id = $1`
          expect(await refusal(client, update, [id])).toBe('55000')
        }
      }
    }
  }))

test('even the owner and a superuser cannot remove an invoice, or change or remove an item', () =>
  withMonthlyDraft(async client => {
    for (const role of ['owner', 'superuser']) {
      await (role === 'owner' ? become(client, 'owner') : client.query('reset role'))
      expect(await refusal(client, 'delete from app_public.invoices')).toBe('55000')
      expect(await refusal(client, 'truncate app_public.invoices cascade')).toBe('55000')
      expect(await refusal(client, 'update app_public.invoice_items set net_amount = net_amount')).toBe(
        '55000',
      )
      expect(await refusal(client, 'delete from app_public.invoice_items')).toBe('55000')
      expect(await refusal(client, 'truncate app_public.invoice_items cascade')).toBe('55000')
    }
  }))

test('no role of the API can write to the billing tables directly', () =>
  withMonthlyDraft(async (client, dealerId, userId) => {
    for (const as of ['visitor', { dealer: userId }, admin] as const) {
      await become(client, as)
      for (const table of [
        'invoices',
        'invoice_items',
        'checkouts',
        'dealer_subscriptions',
        'dealer_packages',
      ]) {
        const column = table === 'dealer_packages' ? 'id' : 'dealer_id'
        const insert = `insert into app_public.${table} (${column}) values ($1)`
        expect(await refusal(client, insert, [dealerId])).toBe('42501')
        expect(await refusal(client, `update app_public.${table} set ${column} = $1`, [dealerId])).toBe(
          '42501',
        )
        expect(await refusal(client, `delete from app_public.${table}`)).toBe('42501')
      }
    }
  }))

test('a dealer sees its own invoices and items, an admin sees all, a visitor sees nothing', () =>
  withMonthlyDraft(async (client, _dealerId, userId) => {
    const strangerId = await makeUser(client)
    const seen = async (table: string) => (await client.query(`select from app_public.${table}`)).rowCount
    for (const table of ['invoices', 'invoice_items', 'listing_consumptions']) {
      await become(client, { dealer: userId })
      expect(await seen(table)).toBe(1)
      await become(client, { dealer: strangerId })
      expect(await seen(table)).toBe(0)
      await become(client, admin)
      expect(await seen(table)).toBe(1)
      await become(client, 'visitor')
      // may select the ledger, so that the consumption of a listing is null instead of an error, but sees no row
      if (table === 'listing_consumptions') expect(await seen(table)).toBe(0)
      else expect(await refusal(client, `select from app_public.${table}`)).toBe('42501')
    }
  }))

test('the amounts of invoices and items must add up, and a period must start on the first of a month', () =>
  withMonthlyDraft(async client => {
    const change = (set: string) => refusal(client, `update app_public.invoices set ${set}`)
    expect(await change('gross_total = gross_total + 0.01')).toBe('23514')
    expect(await change("period_start = '2026-01-02'")).toBe('23514')
    expect(await change('period_start = null')).toBe('23514')
    expect(await change("status = 'paid'")).toBe('23514')
    const item = (change: object) =>
      refusal(
        client,
        `insert into app_public.invoice_items
         select r.* from app_public.invoice_items as it,
           jsonb_populate_record(it, $1::jsonb || jsonb_build_object('id', gen_random_uuid())) as r`,
        [change],
      )
    expect(await item({ gross_amount: 1 })).toBe('23514')
    expect(await item({ discount: 6 })).toBe('23514')
    expect(await item({ price_version: null })).toBe('23514')
    expect(await item({ price_config_id: null })).toBe('23514')
    expect(await item({ invoice_id: randomUUID() })).toBe('23503')
  }))

test('the totals of a package are never negative, and those of a month can be', () =>
  withMonthlyDraft(async (client, dealerId, userId) => {
    const packageId = await makePackage(client)
    await become(client, { dealer: userId })
    await buy(client, dealerId, packageId)
    await become(client, 'owner')
    const change =
      'update app_public.invoices set net_total = -1, gross_total = vat_total - 1 where kind = $1 returning id'
    expect(await refusal(client, change, ['package'])).toBe('23514')
    await client.query('savepoint month')
    expect((await client.query(change, ['monthly'])).rowCount).toBe(1)
    await client.query('rollback to savepoint month')
  }))

test('constraints allow one open checkout for each dealer and one checkout for each key', () =>
  withMonthlyDraft(async (client, dealerId, userId) => {
    const packageId = await makePackage(client)
    await become(client, { dealer: userId })
    await buy(client, dealerId, packageId)
    await become(client, 'owner')
    const again = `insert into app_public.checkouts
      select r.* from app_public.checkouts as c
      join app_public.invoices as i on i.dealer_id = c.dealer_id and i.id <> c.invoice_id,
        jsonb_populate_record(c, jsonb_build_object('invoice_id', i.id) || $1::jsonb) as r`
    expect(await refusal(client, again, [{ idempotency_key: randomUUID() }])).toBe('23505')
    expect(await refusal(client, again, [{ closed_at: '2026-01-01' }])).toBe('23505')
    await client.query(again, [{ idempotency_key: randomUUID(), closed_at: '2026-01-01' }])
  }))
