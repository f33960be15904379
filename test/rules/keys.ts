/** The foreign keys and the unique keys by hand, so that a test notices when one of them is lost or becomes weaker. */
import type { Row } from './rows.ts'
import { PERIOD } from './seed.ts'

/** A key of several columns refers to rows of the same dealer or country. */
export type ForeignKey = {
  table: string
  name: string
  columns: string[]
  target: string
  targetColumns: string[]
  cascades?: true
}

const foreignKey = (label: string, columns: string, target: string, targetColumns: string): ForeignKey => {
  const [table = '', name = ''] = label.split(' ')
  return { table, name, columns: columns.split(' '), target, targetColumns: targetColumns.split(' ') }
}
const toCurrency = (label: string) => foreignKey(label, 'currency', 'app_public.currencies', 'code')
const toDealer = (label: string) => foreignKey(label, 'dealer_id', 'app_public.dealers', 'id')
const toUser = (label: string, column = 'user_id') => foreignKey(label, column, 'app_public.users', 'id')
const toSession = (label: string): ForeignKey => ({
  ...foreignKey(label, 'session_id', 'app_private.sessions', 'id'),
  cascades: true,
})
const toPackage = (label: string) => foreignKey(label, 'package_id', 'app_public.dealer_packages', 'id')
const toPrice = (label: string) => foreignKey(label, 'price_config_id', 'app_public.price_configs', 'id')
const toOwn = (label: string, column: string, target: string) =>
  foreignKey(label, `dealer_id ${column}`, target, 'dealer_id id')
const toOwnInvoice = (label: string) => toOwn(label, 'invoice_id', 'app_public.invoices')
const toCurrencyOfCountry = (label: string) =>
  foreignKey(label, 'country currency', 'app_public.country_currencies', 'country currency')

export const FOREIGN_KEYS: ForeignKey[] = [
  foreignKey(
    'app_private.alert_deliveries alert_deliveries_alert_id_fkey',
    'alert_id',
    'app_private.alerts',
    'id',
  ),
  toUser('app_private.dealer_creations dealer_creations_user'),
  foreignKey('app_private.mails mails_template', 'kind locale', 'app_private.mail_templates', 'kind locale'),
  toUser('app_private.one_time_tokens one_time_tokens_user_id_fkey'),
  toUser('app_private.user_passwords user_passwords_user_id_fkey'),
  { ...toUser('app_private.sessions sessions_user_id_fkey'), cascades: true },
  toSession('app_private.refresh_tokens refresh_tokens_session_id_fkey'),
  toDealer('app_public.dealer_users dealer_users_dealer_id_fkey'),
  toUser('app_public.dealer_users dealer_users_user_id_fkey'),
  toDealer('app_public.dealer_api_keys dealer_api_keys_dealer_id_fkey'),
  toUser('app_public.dealer_api_keys dealer_api_keys_created_by_fkey', 'created_by'),
  toDealer('app_public.dealer_invitations dealer_invitations_dealer_id_fkey'),
  toUser('app_public.dealer_invitations dealer_invitations_created_by_fkey', 'created_by'),
  toCurrency('app_public.country_currencies country_currencies_currency_fkey'),
  toCurrencyOfCountry('app_public.price_configs price_configs_currency_of_country'),
  toCurrencyOfCountry('app_public.dealer_packages dealer_packages_currency_of_country'),
  toDealer('app_public.invoices invoices_dealer'),
  toCurrency('app_public.invoices invoices_currency_fkey'),
  toOwnInvoice('app_public.invoice_items invoice_items_invoice'),
  toPrice('app_public.invoice_items invoice_items_price_config_id_fkey'),
  toPackage('app_public.invoice_items invoice_items_package_id_fkey'),
  toCurrency('app_public.invoice_items invoice_items_currency_fkey'),
  toOwnInvoice('app_public.checkouts checkouts_invoice'),
  toPackage('app_public.checkouts checkouts_package_id_fkey'),
  toDealer('app_public.dealer_subscriptions dealer_subscriptions_dealer'),
  toPackage('app_public.dealer_subscriptions dealer_subscriptions_package'),
  toOwnInvoice('app_public.dealer_subscriptions dealer_subscriptions_invoice'),
  toDealer('app_public.listings listings_dealer'),
  toUser('app_public.listings listings_created_by_fkey', 'created_by'),
  toCurrency('app_public.listings listings_currency_known'),
  toOwn('app_public.listing_consumptions listing_consumptions_listing', 'listing_id', 'app_public.listings'),
  toOwn(
    'app_public.listing_consumptions listing_consumptions_subscription',
    'subscription_id',
    'app_public.dealer_subscriptions',
  ),
  toOwn(
    'app_public.listing_consumptions listing_consumptions_invoice_item',
    'invoice_item_id',
    'app_public.invoice_items',
  ),
  toOwn(
    'app_public.listing_consumptions listing_consumptions_reverses',
    'reverses',
    'app_public.listing_consumptions',
  ),
  toPrice('app_public.listing_consumptions listing_consumptions_price_config_id_fkey'),
  toCurrency('app_public.listing_consumptions listing_consumptions_currency_fkey'),
  toOwn('app_public.listing_promotions listing_promotions_listing', 'listing_id', 'app_public.listings'),
  toOwn(
    'app_public.listing_promotions listing_promotions_consumption',
    'id',
    'app_public.listing_consumptions',
  ),
]

/** `accepted` are changes beside which the rest of the key may repeat, in addition to another value of each of its columns. */
export type UniqueKey = {
  table: string
  name: string
  columns: string[]
  where?: string
  accepted?: Row[]
  refused?: Row[]
}

const unique = (label: string, columns: string, more: Partial<UniqueKey> = {}): UniqueKey => {
  const [table = '', name = ''] = label.split(' ')
  return { table, name, columns: columns.split(' '), ...more }
}

const paid = { status: 'paid', paid_at: '2026-01-01Z' }
const SAME_PERIOD = ['[2026-01-31 23:59:59.999999,)', '(,2026-01-01]', '[2026-01-10,2026-01-11)', '(,)']
const OTHER_PERIOD = ['[2026-02-01,)', '(,2026-01-01)']

/** The periods above, and the values of the planted row, in which `valid` is PERIOD. */
const exclusion = (label: string, columns: string): UniqueKey =>
  unique(label, columns, {
    where: `valid = '${PERIOD}'`,
    refused: SAME_PERIOD.map(valid => ({ valid })),
    accepted: OTHER_PERIOD.map(valid => ({ valid })),
  })

const UNKNOWN = '0190a000-0000-7000-8000-0000000000ff'

/** Another value for each column of a key. The foreign keys of the table are removed while they are tried. */
export const OTHER: Row = {
  account_key: '\\x02',
  address: '192.0.2.9',
  alert_id: UNKNOWN,
  channel: 'email',
  code: 'XXX',
  configuration: 'price',
  country: 'FR',
  created_at: '2001-01-01Z',
  currency: 'CHF',
  dealer_id: UNKNOWN,
  email: 'other@example.com',
  email_hash: '\\x02',
  external_id: 'other',
  from_status: 'sold',
  id: UNKNOWN,
  holder: UNKNOWN,
  idempotency_key: UNKNOWN,
  invoice_id: UNKNOWN,
  invoice_item_id: UNKNOWN,
  key: 'other',
  kind: 'other',
  listing_id: UNKNOWN,
  locale: 'de',
  number: 9,
  period_start: '2001-01-01',
  price_version: 99,
  pricing_type: 'premium_fee',
  reverses: UNKNOWN,
  scope: 'other_scope',
  session_id: UNKNOWN,
  segment: 'individual',
  task: 'other',
  token_hash: `\\x${'02'.repeat(32)}`,
  to_status: 'sold',
  user_id: UNKNOWN,
  'app_public.listing_consumptions.kind': 'renewal',
  'app_private.one_time_tokens.kind': 'email_verification',
  'app_private.rate_limit_counters.key': '\\x02',
  'app_private.pricing_conflicts.code': 'pricing_config_ambiguous',
}

/** Tables of one row: their key is a column with one possible value, so no neighbour is valid. */
const ONE_ROW = ['app_private.account_keys', 'app_private.operation_settings']

export const UNIQUE_KEYS: UniqueKey[] = [
  unique('app_private.account_keys account_keys_pkey', 'id'),
  unique('app_private.operation_settings operation_settings_pkey', 'only_row'),
  unique('app_private.expiry_progress expiry_progress_pkey', 'task'),
  unique('app_private.alerts alerts_pkey', 'id'),
  unique('app_private.alerts alerts_kind_key_key', 'kind key'),
  unique('app_private.alert_deliveries alert_deliveries_pkey', 'alert_id channel'),
  unique('app_private.job_runs job_runs_pkey', 'id'),
  unique('app_private.ledger_checks ledger_checks_pkey', 'id'),
  unique('app_public.audit_logs audit_logs_pkey', 'created_at id'),
  unique('app_public.rate_limit_policies rate_limit_policies_pkey', 'scope'),
  unique('app_private.rate_limit_counters rate_limit_counters_pkey', 'key'),
  unique('app_public.users users_pkey', 'id'),
  unique('app_public.users users_email_key', 'email'),
  unique('app_public.dealers dealers_pkey', 'id'),
  unique('app_public.dealer_users dealer_users_pkey', 'dealer_id user_id'),
  unique('app_public.dealer_api_keys dealer_api_keys_pkey', 'dealer_id id'),
  unique('app_public.dealer_invitations dealer_invitations_pkey', 'dealer_id id'),
  unique('app_public.dealer_invitations ux_dealer_invitations_one_open', 'dealer_id email', {
    where: 'accepted_at is null and revoked_at is null',
    accepted: [{ accepted_at: '2026-01-01Z' }, { revoked_at: '2026-01-01Z' }],
  }),
  unique('app_private.dealer_creations dealer_creations_pkey', 'user_id number'),
  unique('app_private.dealer_creations dealer_creations_idempotency_key', 'user_id idempotency_key', {
    accepted: [{ idempotency_key: null }],
  }),
  unique('app_private.user_passwords user_passwords_pkey', 'user_id'),
  unique('app_private.mail_templates mail_templates_pkey', 'kind locale', { where: "kind = 'seeded'" }),
  unique('app_private.mails mails_pkey', 'id'),
  unique('app_private.one_time_tokens one_time_tokens_pkey', 'token_hash'),
  unique('app_private.one_time_tokens one_time_tokens_one_of_a_kind', 'holder kind', {
    where: "kind = 'password_reset' and user_id is null",
  }),
  unique('app_private.login_failures login_failures_pkey', 'email_hash'),
  unique('app_private.sessions sessions_pkey', 'id'),
  unique('app_private.refresh_tokens refresh_tokens_pkey', 'token_hash'),
  unique('app_private.revoked_sessions revoked_sessions_pkey', 'session_id'),
  unique('app_private.known_addresses known_addresses_pkey', 'account_key address'),
  unique('app_public.currencies currencies_pkey', 'code'),
  unique('app_public.country_currencies country_currencies_pkey', 'country'),
  unique('app_public.country_currencies country_currencies_country_currency_key', 'country currency'),
  unique('app_public.vat_rates vat_rates_pkey', 'id'),
  exclusion('app_public.vat_rates vat_rates_one_at_a_time', 'country'),
  unique('app_public.price_configs price_configs_pkey', 'id'),
  unique('app_public.price_configs price_configs_version_key', 'country segment pricing_type price_version'),
  exclusion('app_public.price_configs price_configs_one_at_a_time', 'country segment pricing_type'),
  unique('app_public.free_quota_configs free_quota_configs_pkey', 'id'),
  exclusion('app_public.free_quota_configs free_quota_configs_one_at_a_time', 'country segment'),
  unique('app_private.pricing_conflicts pricing_conflicts_pkey', 'id'),
  // the original is a conflict of a package, without a pricing type: nulls are not distinct
  unique(
    'app_private.pricing_conflicts pricing_conflicts_key',
    'country segment pricing_type configuration code',
    {
      where: 'pricing_type is null',
    },
  ),
  unique('app_public.dealer_packages dealer_packages_pkey', 'id'),
  unique('app_public.dealer_packages dealer_packages_country_key_key', 'country key'),
  unique('app_public.invoices invoices_pkey', 'dealer_id id'),
  unique('app_public.invoices ux_invoices_open_month', 'dealer_id period_start country currency', {
    where: "kind = 'monthly' and status = 'draft'",
    accepted: [paid, { status: 'void' }, { kind: 'package' }],
  }),
  unique('app_public.invoice_items invoice_items_pkey', 'id dealer_id'),
  unique('app_public.checkouts checkouts_pkey', 'invoice_id dealer_id'),
  unique('app_public.checkouts checkouts_idempotency_key', 'idempotency_key dealer_id'),
  unique('app_public.checkouts ux_checkouts_one_open', 'dealer_id', {
    where: 'closed_at is null',
    accepted: [{ closed_at: '2026-01-01Z' }],
  }),
  unique('app_public.dealer_subscriptions dealer_subscriptions_pkey', 'id dealer_id'),
  unique('app_public.dealer_subscriptions dealer_subscriptions_invoice_key', 'invoice_id dealer_id', {
    accepted: [{ invoice_id: null }],
  }),
  unique('app_public.dealer_subscriptions ux_dealer_subscriptions_one_active', 'dealer_id', {
    where: "status = 'active'",
    accepted: [
      { status: 'pending', start_at: null, end_at: null },
      { status: 'expired' },
      { status: 'cancelled' },
    ],
  }),
  unique('app_private.listing_steps listing_steps_pkey', 'from_status to_status'),
  unique('app_public.listings listings_pkey', 'dealer_id id'),
  unique('app_public.listings ux_listings_external_id', 'external_id dealer_id', {
    where: 'external_id is not null',
    accepted: [
      { external_id: null },
      ...['rejected', 'withdrawn', 'sold', 'expired'].map(status => ({ status })),
    ],
    refused: [{ status: 'pending' }, { status: 'active' }],
  }),
  unique('app_public.listings listings_idempotency_key', 'idempotency_key dealer_id'),
  unique('app_public.listing_promotions listing_promotions_pkey', 'dealer_id listing_id id'),
  unique('app_public.listing_consumptions listing_consumptions_pkey', 'id dealer_id'),
  unique(
    'app_public.listing_consumptions ux_listing_consumptions_number',
    'dealer_id listing_id kind number',
  ),
  unique('app_public.listing_consumptions ux_listing_consumptions_reverses', 'reverses dealer_id', {
    where: 'reverses is not null',
    accepted: [{ reverses: null }],
  }),
  unique(
    'app_public.listing_consumptions ux_listing_consumptions_idempotency_key',
    'idempotency_key dealer_id',
    {
      where: 'idempotency_key is not null',
      accepted: [{ idempotency_key: null }],
    },
  ),
  unique(
    'app_public.listing_consumptions ux_listing_consumptions_one_per_invoice_item',
    'dealer_id invoice_item_id',
    {
      where: 'invoice_item_id is not null',
      accepted: [{ invoice_item_id: null }],
    },
  ),
]

/** Changes of one column of the key each, and those that the key names: all are accepted. */
export function acceptedChanges({ table, columns, accepted = [] }: UniqueKey): Row[] {
  if (ONE_ROW.includes(table)) return accepted
  return [...columns.map(column => ({ [column]: OTHER[`${table}.${column}`] ?? OTHER[column] })), ...accepted]
}

/** An exact copy, and the changes that the key names: all are refused. */
export const refusedChanges = ({ refused = [] }: UniqueKey): Row[] => [{}, ...refused]
