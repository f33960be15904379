/** Countries, prices, VAT, free listings, packages and rate limits through the API: what each mutation changes, refuses and records. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeAdmin, newCountry } from '../support/seller.ts'
import { makeCountry, makeUser } from '../support/testData.ts'
import {
  admin,
  CONFIGURATION,
  completeInputs,
  MUTATIONS,
  type Mutation,
  PACKAGE,
  PACKAGE_NAME,
  trailOf,
} from './calls.ts'

const EARLIER = '2020-01-01T00:00:00Z'
const LATER = `${new Date().getUTCFullYear() + 1}-01-01T00:00:00+01:00`
const LATEST = `${new Date().getUTCFullYear() + 2}-01-01T00:00:00+01:00`

let database: TestDatabase
let server: TestServer
let token: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  token = await makeAdmin(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

const send = (name: Mutation, input: Record<string, unknown>) => admin(server, token, name, input)
const actionsOf = async (work: () => Promise<unknown>) =>
  (await trailOf(database, work)).map(({ action }) => action)
const country = (options = {}) => makeCountry(database.owner, { country: newCountry(), ...options })

test.each(MUTATIONS)('only admins call %s, whatever a token says', async name => {
  const userId = await makeUser(database.owner)
  const input = completeInputs(newCountry())[name]
  const tried = async (by?: string) => {
    const { status, code } = await admin(server, by, name, input)
    return [status, code]
  }
  const trail = await trailOf(database, async () => {
    expect(await tried()).toEqual([401, 'unauthenticated'])
    expect(await tried(await server.tokenFor(userId))).toEqual([403, 'forbidden'])
    expect(await tried(await server.tokenFor(userId, 'admin'))).toEqual([403, 'forbidden'])
  })
  expect(trail).toEqual([])
})

test('a country is opened with its first VAT rate and price, and to repeat it changes nothing', async () => {
  const input: Record<string, unknown> = {
    ...completeInputs(newCountry()).openCountry,
    moderation: 'AFTER',
    listingDays: 60,
  }
  const { status, row } = await send('openCountry', input)
  expect([status, row]).toEqual([
    200,
    { country: input.country, currency: 'EUR', closedAt: null, moderation: 'AFTER', listingDays: 60 },
  ])
  const again = () => send('openCountry', input)
  expect(await actionsOf(async () => expect((await again()).row).toEqual(row))).toEqual([])
})

test('an open country keeps currency, VAT rate and price, and gets another moderation and time', async () => {
  const { vatRate, unitPriceNet, ...input } = completeInputs(newCountry()).openCountry
  expect(await send('openCountry', input)).toMatchObject({ code: 'invalid_input', field: 'vatRate' })
  await send('openCountry', { ...input, vatRate, unitPriceNet })
  const conflict = { status: 409, code: 'conflict', field: 'country' }
  for (const change of [{ currency: 'CHF' }, { vatRate: '21' }, { unitPriceNet: '6' }]) {
    const given = { vatRate, unitPriceNet, ...input, ...change }
    expect(await send('openCountry', given)).toMatchObject(conflict)
  }
  expect(await send('openCountry', { ...input, currency: 'CHF' })).toMatchObject(conflict)
  const { row } = await send('openCountry', { ...input, listingDays: 30 })
  expect(row).toMatchObject({ listingDays: 30, moderation: 'BEFORE' })
})

test.each([
  ['setPrice', { unitPriceNet: '6' }, { unitPriceNet: '7' }, 'INSERT price_configs'],
  ['setVatRate', { vatRate: '20' }, { vatRate: '21' }, 'INSERT vat_rates'],
  ['setFreeQuota', { quotaAmount: 3 }, { quotaAmount: 4 }, 'INSERT free_quota_configs'],
] as const)(
  '%s ends the one before, repeats nothing, and never changes the past',
  async (name, next, other, entry) => {
    const code = await country({ freeListings: 1 })
    const input = { ...completeInputs(code)[name], ...next }
    expect(await send(name, { ...input, validFrom: EARLIER })).toMatchObject({
      status: 422,
      code: 'invalid_input',
      field: 'validFrom',
    })
    const first = await trailOf(database, () => send(name, input))
    expect(first.map(({ action }) => action)).toContain(entry)
    expect(first.every(({ actor }) => actor !== null)).toBe(true)
    const closed = first.find(({ action }) => action.startsWith('UPDATE'))
    expect(closed?.old_values).toMatchObject({ valid: expect.stringContaining(',)') })
    const scheduled = await send(name, { ...input, ...other, validFrom: LATER })
    expect(scheduled.row).toMatchObject({ valid: { end: null } })
    expect(await actionsOf(() => send(name, input))).toEqual([])
    expect(await actionsOf(() => send(name, { ...input, ...other, validFrom: LATER }))).toEqual([])
    const earlier = { ...input, ...other }
    expect(await send(name, earlier)).toMatchObject({ status: 409, code: 'conflict', field: 'validFrom' })
    expect((await send(name, { ...input, validFrom: LATEST })).status).toBe(200)
    expect(await send(name, { ...input, country: 'ZZ' })).toMatchObject({
      code: 'not_found',
      field: 'country',
    })
  },
)

type Refused = [Mutation, change: Record<string, unknown>, field: string]

/** Each constraint of the configuration, with a call that breaks it and the field of the refusal. */
const BROKEN: Record<string, Refused> = {
  country_currencies_country_form: ['openCountry', { country: 'de' }, 'country'],
  country_currencies_listing_days_range: ['openCountry', { listingDays: 0 }, 'listingDays'],
  currencies_code_form: ['openCountry', { currency: 'Euro' }, 'currency'],
  dealer_packages_duration_days_range: ['savePackage', { durationDays: 0 }, 'durationDays'],
  dealer_packages_highlight_quota_range: ['savePackage', { highlightQuota: -1 }, 'highlightQuota'],
  dealer_packages_key_form: ['savePackage', { key: 'Basic' }, 'key'],
  dealer_packages_listing_limit_range: ['savePackage', { listingLimit: -1 }, 'listingLimit'],
  dealer_packages_premium_quota_range: ['savePackage', { premiumQuota: -1 }, 'premiumQuota'],
  dealer_packages_price_net_range: ['savePackage', { priceNet: '-1' }, 'priceNet'],
  free_quota_configs_period_days_range: ['setFreeQuota', { periodDays: 0 }, 'periodDays'],
  free_quota_configs_quota_amount_range: ['setFreeQuota', { quotaAmount: -1 }, 'quotaAmount'],
  price_configs_duration_days_range: ['setPrice', { durationDays: 0 }, 'durationDays'],
  price_configs_unit_price_net_range: ['setPrice', { unitPriceNet: '1000000' }, 'unitPriceNet'],
  rate_limit_policies_cost_within_limit: ['setRateLimitPolicy', { cost: 1000 }, 'cost'],
  rate_limit_policies_max_count_range: ['setRateLimitPolicy', { maxCount: 1_000_001 }, 'maxCount'],
  rate_limit_policies_window_seconds_range: ['setRateLimitPolicy', { windowSeconds: 0 }, 'windowSeconds'],
  vat_rates_rate_range: ['openCountry', { vatRate: '101' }, 'vatRate'],
  vat_rates_rate_scale: ['setVatRate', { vatRate: '7.00001' }, 'vatRate'],
}
/** A value that is in the way of another is 409, as the tests above say. */
const CONFLICTS = [
  'dealer_packages_country_key_key',
  'free_quota_configs_one_at_a_time',
  'price_configs_one_at_a_time',
  'vat_rates_one_at_a_time',
]

test('each constraint of the configuration that names a field has a case in this file', async () => {
  const { rows } = await database.superuser.query<{ name: string }>(
    `select conname as name from pg_constraint
     where obj_description(oid, 'pg_constraint') like '@field %' and conrelid = any ($1::regclass[]) order by 1`,
    [CONFIGURATION],
  )
  expect(rows.map(({ name }) => name)).toEqual([...Object.keys(BROKEN), ...CONFLICTS].sort())
})

test.each(Object.entries(BROKEN))(
  'a value that breaks %s is refused with its field',
  async (_rule, [name, change, field]) => {
    const code = name === 'openCountry' ? newCountry() : await country()
    const refused = await send(name, { ...completeInputs(code)[name], ...change })
    expect([refused.status, refused.code, refused.field]).toEqual([422, 'invalid_input', field])
  },
)

const named = (name: unknown): Refused => ['savePackage', { name }, 'name']

/** Values that a function refuses, because a constraint cannot know the currency or would name another field. */
const REFUSED: Refused[] = [
  ['openCountry', { unitPriceNet: '5.001' }, 'unitPriceNet'],
  ['setPrice', { unitPriceNet: '0.004' }, 'unitPriceNet'],
  ['savePackage', { priceNet: '49.001' }, 'priceNet'],
  ...['Basic', [], {}, { en: 'Basic' }, { de: 'Basis' }, { ...PACKAGE_NAME, english: 'Basic' }].map(named),
  ...['', ' ', 'A\nB', '\u202eA', 'x'.repeat(201), null, 5, {}].map(en => named({ ...PACKAGE_NAME, en })),
  ['setRateLimitPolicy', { maxCount: 0 }, 'maxCount'],
  ['setRateLimitPolicy', { maxCount: 0, cost: 1 }, 'maxCount'],
]

test.each(REFUSED)('%s refuses %j with its field', async (name, change, field) => {
  const code = name === 'openCountry' ? newCountry() : await country()
  const { status, ...refused } = await send(name, { ...completeInputs(code)[name], ...change })
  expect([status, refused.code, refused.field]).toEqual([422, 'invalid_input', field])
})

test('a limit below the cost is refused with the field that was given', async () => {
  const scope = 'pricing_quote'
  await send('setRateLimitPolicy', { scope, maxCount: 10, cost: 5 })
  expect((await send('setRateLimitPolicy', { scope, maxCount: 4 })).field).toBe('maxCount')
  expect((await send('setRateLimitPolicy', { scope, cost: 11 })).field).toBe('cost')
})

test('prices have the decimal places of their currency, and names of packages are trimmed', async () => {
  const code = await country()
  expect((await send('setPrice', completeInputs(code).setPrice)).row).toMatchObject({ unitPriceNet: '6.00' })
  const given = {
    ...completeInputs(code).savePackage,
    priceNet: '49.5000',
    name: { ...PACKAGE_NAME, fr: ' Base ' },
  }
  const { row } = await send('savePackage', given)
  expect(row).toMatchObject({ priceNet: '49.50', name: { ...PACKAGE_NAME, fr: 'Base' } })
  const yen = await country({ currency: 'JPY', minorUnits: 0, price: null })
  const price = { ...completeInputs(yen).setPrice, unitPriceNet: '505.0' }
  expect((await send('setPrice', price)).row).toMatchObject({ unitPriceNet: '505' })
  expect(await send('setPrice', { ...price, unitPriceNet: '5.5' })).toMatchObject({ field: 'unitPriceNet' })
})

test('a package is saved once, changed by its id, retired and put on sale again', async () => {
  const code = await country()
  const input = { ...PACKAGE, country: code, key: 'basic', premiumQuota: 2, quotaKind: 'CONCURRENT' }
  const { row } = await send('savePackage', input)
  expect(row).toMatchObject({ currency: 'EUR', isActive: true, premiumQuota: 2, overage: 'CHARGE' })
  expect(await actionsOf(async () => expect((await send('savePackage', input)).row).toEqual(row))).toEqual([])
  const { premiumQuota: _quota, quotaKind: _kind, ...rest } = input
  const dearer = { ...rest, priceNet: '59.00' }
  expect(await send('savePackage', dearer)).toMatchObject({ status: 409, code: 'conflict', field: 'key' })
  await send('retirePackage', { packageId: row?.id })
  const changed = await trailOf(database, () => send('savePackage', { ...dearer, id: row?.id }))
  expect(changed).toMatchObject([
    {
      action: 'UPDATE dealer_packages',
      old_values: { price_net: 49, is_active: false },
      new_values: { price_net: 59, is_active: true },
    },
  ])
  const saved = await send('savePackage', { ...dearer, id: row?.id })
  expect(saved.row).toMatchObject({ premiumQuota: 2, quotaKind: 'CONCURRENT', isActive: true })
  const elsewhere = { ...dearer, id: row?.id, country: await country() }
  expect(await send('savePackage', elsewhere)).toMatchObject({ code: 'not_found', field: 'id' })
})

test('a rate limit changes in the given parts alone', async () => {
  const input = { scope: 'listing_write', maxCount: 299, mode: 'SHADOW' }
  const { row } = await send('setRateLimitPolicy', input)
  expect(row).toMatchObject({ maxCount: 299, windowSeconds: 60, mode: 'SHADOW' })
  expect(await actionsOf(() => send('setRateLimitPolicy', input))).toEqual([])
})

test.each([
  ['closeCountry', 'country'],
  ['retirePackage', 'packageId'],
  ['setDealerStatus', 'dealerId'],
  ['lockUser', 'userId'],
  ['unlockUser', 'userId'],
  ['grantSubscription', 'dealerId'],
] as const)('%s of a row that does not exist is not found', async (name, field) => {
  expect(await send(name, completeInputs(newCountry())[name])).toMatchObject({
    status: 404,
    code: 'not_found',
    field,
  })
})

test('a rate limit that does not exist is not found', async () => {
  expect(await send('setRateLimitPolicy', { scope: 'none', maxCount: 1 })).toMatchObject({
    status: 404,
    field: 'scope',
  })
})

test('of twenty calls at once that set the same price, one sets it', async () => {
  const code = await country()
  const input = completeInputs(code).setPrice
  const actions = await actionsOf(() =>
    Promise.all(Array.from({ length: 20 }, () => send('setPrice', input))),
  )
  expect(actions.filter(action => action === 'SET_PRICE price_configs')).toHaveLength(1)
})
