/** For each CHECK of the packages, invoices and subscriptions: values that it refuses, and their valid neighbours. */
import { type Check, check } from './checks.ts'
import type { Row } from './rows.ts'

const times = (count: number) => 'a'.repeat(count)
const LARGEST = 2_147_483_647

const amounts = (net: string, vat: string, gross: string, names: string): Row => {
  const [netName = '', vatName = '', grossName = ''] = names.split(' ')
  return { [netName]: net, [vatName]: vat, [grossName]: gross }
}
export const addUp = (names: string): Check => ({
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
  'app_public.invoices invoices_totals_add_up': {
    ...addUp('net_total vat_total gross_total'),
    where: "kind = 'package'",
  },
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
  'app_public.invoice_items invoice_items_amounts_add_up': {
    refused: [
      ...addUp('net_amount vat_amount gross_amount').refused,
      { quantity: -1, net_amount: '5.00', vat_amount: '0.95', gross_amount: '5.95' },
    ],
    accepted: [
      ...addUp('net_amount vat_amount gross_amount').accepted,
      { quantity: -1, net_amount: '-5.00', vat_amount: '-0.95', gross_amount: '-5.95' },
    ],
    where: 'quantity = 1',
  },
  'app_public.invoice_items invoice_items_quantity_not_zero': check('quantity', [0], [1, -1]),
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

export const [SOONER, LATER] = ['2026-01-01 00:00Z', '2026-01-01 00:00:00.000001Z']
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
