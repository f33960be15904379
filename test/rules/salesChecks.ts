/** For each CHECK of the packages, invoices, subscriptions and listings: values that it refuses, and their valid neighbours. */
import { type Check, check } from './checks.ts'
import type { Row } from './rows.ts'

const times = (count: number) => 'a'.repeat(count)
const LARGEST = 2_147_483_647

const amounts = (net: string, vat: string, gross: string, names: string): Row => {
  const [netName = '', vatName = '', grossName = ''] = names.split(' ')
  return { [netName]: net, [vatName]: vat, [grossName]: gross }
}
const addUp = (names: string): Check => ({
  refused: [
    amounts('5.00', '0.95', '5.94', names),
    amounts('5.00', '0.95', '5.96', names),
    amounts('-0.01', '0.02', '0.01', names),
    amounts('0.02', '-0.01', '0.01', names),
  ],
  accepted: [amounts('5.00', '0.95', '5.95', names), amounts('0', '0', '0', names)],
})

/** A paid invoice has its time, whatever the order of the checks. */
const paid = { status: 'paid', paid_at: '2026-01-01Z' }
const PRICE_ITEM = 'price_config_id is not null'
const PACKAGE_ITEM = 'package_id is not null'

export const BILLING_CHECKS: Record<string, Check> = {
  'app_public.dealer_packages dealer_packages_key_form': check(
    'key',
    ['', 'A', '1a', '_a', 'a-b', times(41)],
    ['a', 'a_1', times(40)],
  ),
  'app_public.dealer_packages dealer_packages_name_has_language': check(
    'name',
    [{}, [], 'Test', 1],
    [{ de: 'Test' }],
  ),
  'app_public.dealer_packages dealer_packages_price_net_range': check(
    'price_net',
    ['-0.01', '1000000', 'NaN'],
    ['0', '999999.99'],
  ),
  'app_public.dealer_packages dealer_packages_duration_days_range': check(
    'duration_days',
    [0, 3661],
    [1, 3660],
  ),
  'app_public.dealer_packages dealer_packages_listing_limit_range': check(
    'listing_limit',
    [-1],
    [0, LARGEST],
  ),
  'app_public.dealer_packages dealer_packages_premium_quota_range': check(
    'premium_quota',
    [-1],
    [0, LARGEST],
  ),
  'app_public.dealer_packages dealer_packages_highlight_quota_range': check(
    'highlight_quota',
    [-1],
    [0, LARGEST],
  ),
  'app_public.invoices invoices_monthly_has_period': {
    refused: [
      { kind: 'monthly', period_start: null },
      { kind: 'package', period_start: '2026-01-01' },
    ],
    accepted: [
      { kind: 'monthly', period_start: '2026-01-01' },
      { kind: 'package', period_start: null },
    ],
  },
  'app_public.invoices invoices_period_starts_month': check(
    'period_start',
    ['2026-01-02', '2026-01-31'],
    ['2026-01-01', '2026-02-01', null],
  ),
  'app_public.invoices invoices_paid_has_time': {
    refused: [
      { status: 'paid', paid_at: null },
      { status: 'draft', paid_at: '2026-01-01Z' },
      { status: 'void', paid_at: '2026-01-01Z' },
    ],
    accepted: [paid, { status: 'draft', paid_at: null }, { status: 'void', paid_at: null }],
  },
  'app_public.invoices invoices_totals_add_up': addUp('net_total vat_total gross_total'),
  'app_public.invoice_items invoice_items_one_origin': {
    refused: [{ price_config_id: null }, { package_id: '0190a000-0000-7000-8000-000000000001' }],
    accepted: [{}],
    where: PRICE_ITEM,
  },
  'app_public.invoice_items invoice_items_version_of_price': {
    refused: [{ price_version: null }],
    accepted: [{ price_version: 2 }, { price_version: null, price_config_id: null }],
    where: PRICE_ITEM,
  },
  'app_public.invoice_items invoice_items_discount_within_price': {
    refused: [
      { discount: '-0.01', unit_price_net: '5.00' },
      { discount: '5.01', unit_price_net: '5.00' },
    ],
    accepted: [
      { discount: '0', unit_price_net: '5.00' },
      { discount: '5.00', unit_price_net: '5.00' },
    ],
    where: PACKAGE_ITEM,
  },
  'app_public.invoice_items invoice_items_amounts_add_up': addUp('net_amount vat_amount gross_amount'),
  'app_public.checkouts checkouts_provider_known': check('provider', ['', 'stripe', 'Manual'], ['manual']),
  'app_public.checkouts checkouts_success_url_form': url('success_url'),
  'app_public.checkouts checkouts_cancel_url_form': url('cancel_url'),
}

function url(column: string): Check {
  return check(
    column,
    [
      '',
      'a.example',
      'ftp://a.example',
      'https://',
      'xhttps://a',
      'https://a b',
      `https://a\n`,
      `https://${times(1993)}`,
    ],
    [null, 'http://a', 'https://a', `https://${times(1992)}`],
  )
}

const [SOONER, LATER] = ['2026-01-01 00:00Z', '2026-01-01 00:00:00.000001Z']
const started = (status: string, start_at: string | null, end_at: string | null): Row => ({
  status,
  start_at,
  end_at,
})

/** Three units are included, for each kind of quota. */
const used = (values: number[]): Row[] =>
  ['listing', 'premium', 'highlight'].flatMap(kind =>
    values.map(value => ({ [`included_${kind}_quota`]: 3, [`used_${kind}_quota`]: value })),
  )

export const SUBSCRIPTION_CHECKS: Record<string, Check> = {
  'app_public.dealer_subscriptions dealer_subscriptions_duration_days_positive': check(
    'duration_days',
    [0, -1],
    [1],
  ),
  'app_public.dealer_subscriptions dealer_subscriptions_started_has_times': {
    refused: [
      started('pending', SOONER, null),
      started('pending', null, LATER),
      ...['active', 'expired'].flatMap(status => [
        started(status, null, null),
        started(status, SOONER, null),
        started(status, null, LATER),
      ]),
      started('cancelled', SOONER, null),
      started('cancelled', null, LATER),
    ],
    accepted: [
      started('pending', null, null),
      started('active', SOONER, LATER),
      started('expired', SOONER, LATER),
      started('cancelled', SOONER, LATER),
      started('cancelled', null, null),
    ],
  },
  'app_public.dealer_subscriptions dealer_subscriptions_ends_after_start': {
    refused: [
      { start_at: SOONER, end_at: SOONER },
      { start_at: LATER, end_at: SOONER },
    ],
    accepted: [{ start_at: SOONER, end_at: LATER }],
  },
  'app_public.dealer_subscriptions dealer_subscriptions_used_within_included': {
    refused: used([-1, 4]),
    accepted: used([0, 3]),
  },
}

const source = (name: string) => `source = '${name}'`
const ID = '0190a000-0000-7000-8000-000000000001'
const PROOFS = ['subscription_id', 'price_config_id', 'invoice_item_id']
/** Every other set of proofs than the row has: one more, one less, or one of another kind. */
const proofs = (names: string[]): Row =>
  Object.fromEntries(PROOFS.map(name => [name, names.includes(name) ? ID : null]))
const SETS = [
  [],
  ...PROOFS.map(name => [name]),
  ['subscription_id', 'price_config_id'],
  ['subscription_id', 'invoice_item_id'],
  ['price_config_id', 'invoice_item_id'],
  PROOFS,
]
const VALID: Record<string, string> = {
  free_quota: '',
  subscription_quota: 'subscription_id',
  paid_extra: 'price_config_id invoice_item_id',
}
const proven = (valid: boolean): Row[] =>
  Object.entries(VALID).flatMap(([name, set]) =>
    SETS.filter(names => (names.join(' ') === set) === valid).map(names => ({
      source: name,
      ...proofs(names),
    })),
  )

const image = (length: number) => `https://a/${'b'.repeat(length - 'https://a/'.length)}`

export const LISTING_CHECKS: Record<string, Check> = {
  'app_public.listings listings_title_length': check(
    'title',
    ['', ' ', '\t', '\u00a0', '\u200b', '\u200d', 'a\nb', 'a\u0308', times(201)],
    ['a', times(200)],
  ),
  'app_public.listings listings_description_length': check(
    'description',
    [times(10_001), 'a\u0007', 'a\rb', 'a\u0308'],
    [null, '', 'a\n\tb', times(10_000)],
  ),
  'app_public.listings listings_module_form': check(
    'module',
    ['', '1a', '_a', '-a', 'a b', times(41)],
    ['a', 'A_-1', times(40)],
  ),
  'app_public.listings listings_price_range': check(
    'price',
    ['-0.01', '1000000000000', 'NaN'],
    ['0', '999999999999.99'],
  ),
  'app_public.listings listings_price_scale': check('price', ['0.00001'], ['0.0001']),
  'app_public.listings listings_attributes_object': check('attributes', [[], 'a', 1], [{}, { a: 1 }]),
  'app_public.listings listings_images_count': check(
    'images',
    [Array(51).fill('a'), [['a'], ['b']]],
    [[], ['a'], Array(50).fill('a')],
  ),
  'app_public.listings listings_images_present': check('images', [[null], ['a', null]], [[], ['a']]),
  'app_public.listings listings_images_form': check(
    'images',
    ['', 'a', 'ftp://a', 'https://', 'https:///a', 'https://a b', 'https://a\u200b', image(2_001)].map(
      image => [image],
    ),
    [[], [image(2_000)], ['http://a', 'https://a.b/c?d#e']],
  ),
  'app_public.listing_consumptions listing_consumptions_source_has_proof': {
    refused: proven(false),
    accepted: proven(true),
  },
  'app_public.listing_consumptions listing_consumptions_only_extras_cost': {
    refused: ['free_quota', 'subscription_quota'].map(name => ({ source: name, net_amount: '0.01' })),
    accepted: [
      { source: 'free_quota', net_amount: '0' },
      { source: 'subscription_quota', net_amount: '0' },
      { source: 'paid_extra', net_amount: '0.01' },
    ],
  },
  'app_public.listing_consumptions listing_consumptions_amounts_add_up': {
    ...addUp('net_amount vat_amount gross_amount'),
    where: source('paid_extra'),
  },
}
