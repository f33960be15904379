/** Each column is listed as personal in docs/privacy.md, or here as not personal: a new column needs a decision. */
import { readFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'
import { useCatalogs } from './offenders.ts'

const offenders = useCatalogs()

/** Think of free text, of an id that leads to a person, and of text that somebody else may have written about a person. */
const NOT_PERSONAL: Record<string, string> = {
  'app_private.account_keys': 'id inner_pad outer_pad',
  'app_private.alert_deliveries': 'alert_id channel attempts delivered_at last_error',
  'app_private.alerts': 'id kind key message details created_at',
  'app_private.dealer_creations': 'idempotency_key payload_hash',
  'app_private.expiry_progress': 'expired_until task',
  'app_private.job_runs':
    'id task started_at finished_at counted error worker_id backend_pid backend_started_at',
  'app_private.ledger_checks': 'id started_at finished_at broken findings',
  'app_private.listing_steps': 'from_status to_status',
  'app_private.mail_templates': 'kind locale subject body updated_at',
  'app_private.operation_settings':
    'only_row audit_retention_months mail_retention_days invitation_retention_days',
  'app_private.pricing_conflicts':
    'id country segment pricing_type configuration code count first_seen_at last_seen_at',
  'app_private.rate_limit_counters': 'window_seconds ends_at decay current',
  'app_public.audit_logs': 'id action resource_type created_at api_key_id',
  'app_public.checkouts':
    'dealer_id invoice_id package_id idempotency_key payload_hash provider url success_url cancel_url duration_days listing_limit premium_quota highlight_quota overage expires_at closed_at created_at quota_kind',
  'app_public.country_currencies': 'country currency closed_at moderation listing_days',
  'app_public.currencies': 'code minor_units',
  'app_public.dealer_api_keys': 'dealer_id id prefix secret_hash',
  'app_public.dealer_invitations': 'dealer_id id token_hash',
  'app_public.dealer_packages':
    'id key country name price_net currency duration_days listing_limit premium_quota highlight_quota overage is_active quota_kind',
  'app_public.dealer_subscriptions':
    'dealer_id id package_id invoice_id status duration_days start_at end_at overage included_listing_quota used_listing_quota included_premium_quota used_premium_quota included_highlight_quota used_highlight_quota created_at updated_at quota_kind',
  'app_public.dealers':
    'id country dealer_type is_active can_publish has_free_quota created_at updated_at is_trusted slots_in_use',
  'app_public.free_quota_configs': 'id country segment quota_amount period_days valid',
  'app_public.invoice_items':
    'dealer_id id invoice_id description price_config_id package_id price_version unit_price_net discount net_amount vat_rate vat_amount gross_amount country currency created_at quantity',
  'app_public.invoices':
    'dealer_id id kind status country currency period_start net_total vat_total gross_total created_at updated_at paid_at',
  'app_public.listing_consumptions':
    'dealer_id id listing_id kind source subscription_id price_config_id invoice_item_id net_amount vat_rate vat_amount gross_amount currency created_at number reverses idempotency_key api_key_id',
  'app_public.listing_promotions': 'dealer_id listing_id id kind starts_at ends_at',
  'app_public.listings':
    'dealer_id id status module price currency idempotency_key payload_hash created_at updated_at external_id listing_days published_at expires_at rejected_at moderation_reason moderation_since holds_slot country is_premium premium_until is_highlighted highlighted_until',
  'app_public.price_configs':
    'id country segment pricing_type unit_price_net currency price_version valid duration_days',
  'app_public.rate_limit_policies':
    'scope subject fields max_count window_seconds cost mode fallback updated_at',
  'app_public.vat_rates': 'id country rate valid',
}

test('each column is documented as personal, or listed as not personal, and none is both', async () => {
  const rows = readFileSync('docs/privacy.md', 'utf8').matchAll(
    /^\| `(app_\w+\.\w+)` +\| ((?:`\w+`(?:, )?)+) +\|/gm,
  )
  const personal = Array.from(rows, ([, table = '', columns = '']) =>
    Array.from(columns.matchAll(/\w+/g), ([column]) => `${table}.${column}`),
  )
  const others = Object.entries(NOT_PERSONAL).map(([table, columns]) =>
    columns.split(' ').map(column => `${table}.${column}`),
  )
  const stored = await offenders(`
    select t.label || '.' || a.attname from rules.tables as t
    join pg_attribute as a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped`)
  expect([...personal, ...others].flat().sort()).toEqual(stored.sort())
})
