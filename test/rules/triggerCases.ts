/** For each trigger, statements that it refuses or records, or into whose row it writes. */

import { ACCOUNT_RECORDED } from './accountTriggerCases.ts'

const REVOKED = 'select count(*) from app_private.revoked_sessions where revoked_at >= now()'

/** What the trigger refuses: each statement with 55000. */
export const REFUSED: Record<string, string[]> = {
  'app_private.sessions sessions_never_truncated': ['truncate app_private.sessions cascade'],
  'app_public.audit_logs audit_logs_append_only': anyChange('app_public.audit_logs', 'action = action'),
  'app_public.dealer_subscriptions dealer_subscriptions_state': [
    "update app_public.dealer_subscriptions set status = 'pending', start_at = null, end_at = null where status = 'active'",
    "update app_public.dealer_subscriptions set quota_kind = 'concurrent'",
    'update app_public.dealer_subscriptions set included_listing_quota = included_listing_quota + 1',
    'update app_public.dealer_subscriptions set included_premium_quota = included_premium_quota + 1',
    'update app_public.dealer_subscriptions set included_highlight_quota = included_highlight_quota + 1',
    'update app_public.dealer_subscriptions set id = gen_random_uuid()',
    'update app_public.dealer_subscriptions set dealer_id = gen_random_uuid()',
  ],
  'app_public.dealer_subscriptions dealer_subscriptions_never_removed': removal(
    'app_public.dealer_subscriptions',
  ),
  'app_public.invoice_items invoice_items_never_changed': anyChange(
    'app_public.invoice_items',
    'description = description',
  ),
  'app_public.invoices invoices_final_never_changed': [
    "update app_public.invoices set updated_at = updated_at where status = 'paid'",
    "update app_public.invoices set status = 'draft', paid_at = null where status = 'paid'",
  ],
  'app_public.invoices invoices_never_removed': removal('app_public.invoices'),
  'app_public.listing_consumptions listing_consumptions_never_changed': anyChange(
    'app_public.listing_consumptions',
    'created_at = created_at',
  ),
  'app_public.listing_promotions listing_promotions_never_changed': anyChange(
    'app_public.listing_promotions',
    'kind = kind',
  ),
  'app_public.price_configs price_configs_never_edited': [
    'update app_public.price_configs set duration_days = duration_days + 1',
    'update app_public.price_configs set unit_price_net = unit_price_net + 1',
    'update app_public.price_configs set price_version = price_version + 1',
    "update app_public.price_configs set valid = '(,)'",
    "update app_public.price_configs set valid = tstzrange(lower(valid) + interval '1 microsecond', upper(valid))",
    "update app_public.price_configs set valid = tstzrange(lower(valid), upper(valid), '(]')",
    'delete from app_public.price_configs',
  ],
  'app_public.rate_limit_policies rate_limit_policies_never_removed': removal(
    'app_public.rate_limit_policies',
  ),
  'app_public.rate_limit_policies rate_limit_policies_never_renamed': [
    "update app_public.rate_limit_policies set scope = 'renamed' where scope = 'auth_login'",
  ],
}

/** What the trigger refuses as a conflict with the present status, as the API reports it. */
export const CONFLICTS: Record<string, string[]> = {
  'app_public.listings listings_step': [
    "update app_public.listings set status = 'sold' where status = 'pending'",
    "update app_public.listings set status = 'expired' where status = 'pending'",
    "update app_public.listings set status = 'pending' where status = 'active'",
  ],
}

function removal(table: string): string[] {
  return [`delete from ${table}`, `truncate ${table} cascade`]
}

function anyChange(table: string, change: string): string[] {
  return [`update ${table} set ${change}`, ...removal(table)]
}

/** A step of one listing of the dealer. */
function step(change: string, where: string, action: string): [sql: string, action: string] {
  return [
    `update app_public.listings set ${change} where id = (
       select id from app_public.listings where dealer_id = $dealer and ${where} order by id limit 1)`,
    action,
  ]
}

/** What the trigger records: a statement on one row, and the action of its entry. Null: no entry. */
export const RECORDED: Record<string, [sql: string, action: string | null][]> = {
  'app_public.country_currencies country_currencies_audited': [
    ["insert into app_public.country_currencies values ('FR', 'EUR')", 'INSERT'],
    ["update app_public.country_currencies set closed_at = now() where country = 'DE'", 'UPDATE'],
    ["update app_public.country_currencies set closed_at = closed_at where country = 'DE'", null],
    ["delete from app_public.country_currencies where country = 'FR'", 'DELETE'],
  ],
  'app_public.currencies currencies_audited': [
    ["insert into app_public.currencies values ('CHF', 2)", 'INSERT'],
    ["update app_public.currencies set minor_units = 3 where code = 'CHF'", 'UPDATE'],
    ["delete from app_public.currencies where code = 'CHF'", 'DELETE'],
  ],
  'app_private.operation_settings operation_settings_audited': [
    ['update app_private.operation_settings set audit_retention_months = 1', 'UPDATE'],
    ['delete from app_private.operation_settings', 'DELETE'],
    ['insert into app_private.operation_settings default values', 'INSERT'],
  ],
  'app_public.vat_rates vat_rates_audited': [
    ["insert into app_public.vat_rates (country, rate, valid) values ('FR', 20, '(,)')", 'INSERT'],
    ["update app_public.vat_rates set rate = 21 where country = 'FR'", 'UPDATE'],
    ["delete from app_public.vat_rates where country = 'FR'", 'DELETE'],
  ],
  'app_public.price_configs price_configs_audited': [
    [
      `insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid)
       values ('DE', 'individual', 'premium_fee', 1, 'EUR', 1, '(,)')`,
      'INSERT',
    ],
    [
      "update app_public.price_configs set valid = '(,2027-01-01Z)' where pricing_type = 'premium_fee'",
      'UPDATE',
    ],
  ],
  'app_public.free_quota_configs free_quota_configs_audited': [
    [
      `insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
       values ('FR', 'dealer', 1, 1, '(,)')`,
      'INSERT',
    ],
    ["update app_public.free_quota_configs set quota_amount = 2 where country = 'FR'", 'UPDATE'],
    ["delete from app_public.free_quota_configs where country = 'FR'", 'DELETE'],
  ],
  'app_public.dealer_packages dealer_packages_audited': [
    [
      `insert into app_public.dealer_packages (key, country, name, price_net, currency, duration_days, listing_limit)
       values ('new', 'DE', '{"en": "New"}', 1, 'EUR', 1, 1)`,
      'INSERT',
    ],
    ["update app_public.dealer_packages set is_active = false where key = 'new'", 'UPDATE'],
    ["delete from app_public.dealer_packages where key = 'new'", 'DELETE'],
  ],
  'app_public.rate_limit_policies rate_limit_policies_audited': [
    [
      "insert into app_public.rate_limit_policies (scope, subject, max_count, window_seconds) values ('new', 'ip', 1, 1)",
      'INSERT',
    ],
    ["update app_public.rate_limit_policies set max_count = 2 where scope = 'new'", 'UPDATE'],
  ],
  ...ACCOUNT_RECORDED,
  'app_public.invoices invoices_state_audited': [
    [
      "update app_public.invoices set updated_at = now() where kind = 'monthly' and dealer_id = $dealer",
      null,
    ],
    [
      "update app_public.invoices set status = 'paid', paid_at = now() where kind = 'monthly' and dealer_id = $dealer",
      'PAY_INVOICE',
    ],
    [
      "update app_public.invoices set status = 'void' where kind = 'package' and status = 'draft' and dealer_id = $dealer",
      'VOID_INVOICE',
    ],
  ],
  'app_public.listings listings_state_audited': [
    ['update app_public.listings set updated_at = now() where dealer_id = $dealer', null],
    step("status = 'withdrawn'", "title = 'A car' and status = 'pending'", 'WITHDRAW_LISTING'),
    step("status = 'active'", "status = 'pending'", 'APPROVE_LISTING'),
    step(
      "status = 'rejected', rejected_at = now(), rejection_reason = 'a'",
      "status = 'active'",
      'REJECT_LISTING',
    ),
    step(
      "status = 'pending', rejected_at = null, rejection_reason = null",
      "status = 'rejected'",
      'RESUBMIT_LISTING',
    ),
    step(
      "status = 'active', published_at = now(), expires_at = now() + interval '1 day'",
      "status = 'pending'",
      'APPROVE_LISTING',
    ),
    // expired by hand: the time of the update is missing, or is before the end
    step("status = 'expired'", "status = 'active'", 'EXPIRE_LISTING'),
    step("status = 'active', updated_at = now()", "status = 'expired'", 'RENEW_LISTING'),
    step(
      "status = 'expired', updated_at = expires_at - interval '1 microsecond'",
      "status = 'active'",
      'EXPIRE_LISTING',
    ),
    step("status = 'active'", "status = 'expired'", 'RENEW_LISTING'),
    // a listing of release 0.2 has no end
    step(
      "status = 'expired', published_at = null, expires_at = null, updated_at = clock_timestamp()",
      "status = 'active'",
      'EXPIRE_LISTING',
    ),
    step("status = 'active'", "status = 'expired'", 'RENEW_LISTING'),
    step("status = 'sold'", "status = 'active'", 'SELL_LISTING'),
  ],
  'app_public.invoices invoices_of_admin_audited': [
    [
      "insert into app_public.invoices (dealer_id, kind, country, currency) values ($dealer, 'package', 'DE', 'EUR')",
      null,
    ],
  ],
  'app_public.dealer_subscriptions dealer_subscriptions_state_audited': [
    ['update app_public.dealer_subscriptions set updated_at = now() where dealer_id = $dealer', null],
    // expired by hand: the time of the update is missing, or is before the end
    [
      "update app_public.dealer_subscriptions set status = 'expired' where dealer_id = $dealer",
      'EXPIRE_SUBSCRIPTION',
    ],
    [
      "update app_public.dealer_subscriptions set status = 'expired', updated_at = end_at - interval '1 microsecond' where dealer_id = $other",
      'EXPIRE_SUBSCRIPTION',
    ],
  ],
}

/** A truncation cascades to tables that refuse it, so their triggers are switched off. */
export const TRUNCATED = [
  'app_private.operation_settings',
  ...['country_currencies', 'currencies', 'vat_rates', 'price_configs', 'free_quota_configs'].map(
    table => `app_public.${table}`,
  ),
  'app_public.dealer_packages',
  'app_public.rate_limit_policies',
]
export const APPEND_ONLY = [
  'dealer_subscriptions_never_removed',
  'invoices_never_removed',
  'invoice_items_never_changed',
  'listing_consumptions_never_changed',
  'listing_promotions_never_changed',
  'rate_limit_policies_never_removed',
]

/** Triggers that write into the row, and those tried below in a test of their own. */
export const WRITING: Record<string, [sql: string, value: string, prepare?: string]> = {
  'app_public.listings listings_slot_released': [
    "update app_public.listings set status = 'withdrawn' where holds_slot returning holds_slot",
    'false',
    `with held as (
       update app_public.listings set holds_slot = true
       where id = (select id from app_public.listings where status = 'pending' limit 1) returning dealer_id
     )
     update app_public.dealers as d set slots_in_use = 1 from held where d.id = held.dealer_id`,
  ],
  'app_private.sessions sessions_revoked': [REVOKED, '1', 'delete from app_private.sessions'],
  'app_public.users users_sessions_ended': [REVOKED, '1', 'update app_public.users set locked_at = now()'],
  'app_public.listings listings_promotions_cleared': [
    "update app_public.listings set status = 'withdrawn' where is_highlighted returning is_highlighted or highlighted_until is not null",
    'false',
  ],
  'app_public.vat_rates vat_rates_written': [
    "update app_public.vat_rates set rate = 7 where country = 'DE' returning rate",
    '7.00',
  ],
  'app_public.dealer_packages dealer_packages_price_as_money': [
    'update app_public.dealer_packages set price_net = 7 where is_active returning price_net',
    '7.00',
  ],
  'app_public.rate_limit_policies rate_limit_policies_announced': [
    "update app_public.rate_limit_policies set updated_by = 'nobody', updated_at = '2001-01-01' where scope = 'auth_login' returning updated_by = session_user and updated_at >= now()",
    'true',
  ],
}
