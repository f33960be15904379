/** For each CHECK of the configuration, the accounts and the system: values that it refuses, and their valid neighbours. */
import type { Row } from './rows.ts'

/** Each row holds the columns that differ from a valid row. `where` chooses that row. */
export type Check = { refused: Row[]; accepted: Row[]; where?: string }

const times = (count: number) => 'a'.repeat(count)
export const each = (column: string, values: unknown[]): Row[] => values.map(value => ({ [column]: value }))
export const check = (column: string, refused: unknown[], accepted: unknown[]): Check => ({
  refused: each(column, refused),
  accepted: each(column, accepted),
})

export const COUNTRY = check('country', ['D', 'DEU', 'de', 'D1', ' DE', 'DE\n'], ['AA', 'ZZ'])
export const NOT_EMPTY = check(
  'valid',
  ['empty', '[2026-01-01,2026-01-01)'],
  ['[2026-01-01,2026-01-01]', '(,)'],
)
const ONE_ROW = check('only_row', [false], [true])
const NAME = [times(201), '', ' ', '\t\n', '\u00a0', '\u200b', ' \u200b\u00a0']

const EMAIL_FORM = check(
  'email',
  [
    'a',
    'a@b',
    '@b.c',
    'a@.c',
    'a@b.',
    'a@b@c.d',
    'a b@c.d',
    'a@b c.d',
    'a\n@b.c',
    'a@b.c\u0007',
    `${times(249)}@b.com`,
  ],
  ['a@b.c', `${times(248)}@b.com`],
)
const EMAIL_NORMALIZED = check('email', ['A@b.c', 'Ä@b.c', 'a@B.c'], ['a@b.c', 'ä@b.c'])

export const SYSTEM_CHECKS: Record<string, Check> = {
  'app_public.audit_logs audit_logs_action_form': check(
    'action',
    ['AB', '_AB', '1AB', 'ABc', 'A B', 'A'.repeat(64)],
    ['ABC', 'A_B', 'A'.repeat(63)],
  ),
  'app_private.operation_settings operation_settings_one_row': ONE_ROW,
  'app_private.operation_settings operation_settings_audit_retention_months_positive': check(
    'audit_retention_months',
    [0, -1],
    [1, null],
  ),
  'app_private.operation_settings operation_settings_mail_retention_days_positive': check(
    'mail_retention_days',
    [0, -1],
    [1],
  ),
  'app_private.operation_settings operation_settings_invitation_retention_days_positive': check(
    'invitation_retention_days',
    [0, -1],
    [1],
  ),
  'app_private.job_runs job_runs_counted_not_negative': check('counted', [-1], [0, 1]),
  'app_private.job_runs job_runs_error_has_end': {
    refused: [{ error: 'failed', finished_at: null }],
    accepted: [
      { error: 'failed', finished_at: '2026-01-01Z' },
      { error: null, finished_at: '2026-01-01Z' },
      { error: null, finished_at: null },
    ],
  },
  'app_private.alerts alerts_kind_form': check(
    'kind',
    ['ab', '_ab', 'Abc', 'ab1', times(41)],
    ['abc', 'a_b', times(40)],
  ),
  'app_private.alerts alerts_key_length': check('key', ['', times(201)], ['a', times(200)]),
  'app_private.alerts alerts_message_length': check('message', ['', times(1001)], ['a', times(1000)]),
  'app_private.alerts alerts_details_object': check('details', [[], 'a', 1], [{}]),
  'app_private.alert_deliveries alert_deliveries_channel_known': check(
    'channel',
    ['sms', ''],
    ['webhook', 'email'],
  ),
  'app_private.alert_deliveries alert_deliveries_attempts_positive': check('attempts', [0, -1], [1]),
  'app_private.ledger_checks ledger_checks_broken_not_negative': check('broken', [-1], [0, 1]),
  'app_private.ledger_checks ledger_checks_finished_after_start': {
    refused: [{ started_at: '2026-01-01 00:00:00.000001Z', finished_at: '2026-01-01 00:00Z' }],
    accepted: [{ started_at: '2026-01-01 00:00Z', finished_at: '2026-01-01 00:00Z' }],
  },
}

const as = (column: string, { refused, accepted }: Check): Check => {
  const rename = (rows: Row[]) => rows.map(row => ({ [column]: Object.values(row)[0] }))
  return { refused: rename(refused), accepted: rename(accepted) }
}
const LOCALE = check('locale', ['', 'fr', 'EN', 'de-CH'], ['en', 'de'])
const hex = (bytes: number) => `\\x${'00'.repeat(bytes)}`

export const ACCOUNT_CHECKS: Record<string, Check> = {
  'app_public.users users_locale_known': LOCALE,
  'app_private.mail_templates mail_templates_locale_known': LOCALE,
  'app_private.mail_templates mail_templates_kind_form': check(
    'kind',
    ['ab', '_ab', 'Abc', 'ab1', times(41)],
    ['abc', 'a_b', times(40)],
  ),
  'app_private.mail_templates mail_templates_subject_length': check('subject', NAME, ['a', times(200)]),
  'app_private.mail_templates mail_templates_body_length': check(
    'body',
    ['', times(10_001)],
    ['a', times(10_000)],
  ),
  'app_private.mails mails_recipient_form': as('recipient', EMAIL_FORM),
  'app_private.mails mails_parameters_object': check('parameters', [[], 'a', 1], [{}]),
  'app_private.mails mails_token_until_sent': {
    refused: [{ sent_at: '2026-01-01Z', sealed_token: hex(1) }],
    accepted: [
      { sent_at: '2026-01-01Z', sealed_token: null },
      { sent_at: null, sealed_token: hex(1), expires_at: '2026-01-01Z' },
    ],
  },
  'app_private.mails mails_token_ends': {
    refused: [{ sealed_token: hex(1), expires_at: null }],
    accepted: [
      { sealed_token: hex(1), expires_at: '2026-01-01Z' },
      { sealed_token: null, expires_at: null },
    ],
  },
  'app_private.one_time_tokens one_time_tokens_token_hash_length': check(
    'token_hash',
    [hex(31), hex(33)],
    [hex(32)],
  ),
  'app_private.one_time_tokens one_time_tokens_kind_known': check(
    'kind',
    ['', 'other'],
    ['password_reset', 'email_verification'],
  ),
  'app_private.one_time_tokens one_time_tokens_email_form': EMAIL_FORM,
  'app_public.dealers dealers_slots_in_use_not_negative': check('slots_in_use', [-1], [0, 1]),
  'app_public.rate_limit_policies rate_limit_policies_scope_form': check(
    'scope',
    ['ab', '_ab', 'Abc', 'ab1', times(41)],
    ['abc', 'a_b', times(40)],
  ),
  'app_public.rate_limit_policies rate_limit_policies_max_count_range': check(
    'max_count',
    [0, 1_000_001],
    [1, 1_000_000],
  ),
  'app_public.rate_limit_policies rate_limit_policies_window_seconds_range': check(
    'window_seconds',
    [0, 86_401],
    [1, 86_400],
  ),
  'app_public.rate_limit_policies rate_limit_policies_cost_within_limit': {
    refused: [
      { cost: 0, max_count: 5 },
      { cost: 6, max_count: 5 },
    ],
    accepted: [
      { cost: 1, max_count: 5 },
      { cost: 5, max_count: 5 },
    ],
  },
  'app_public.rate_limit_policies rate_limit_policies_fields_form': check(
    'fields',
    [[null], ['Query.a', null], ['login'], ['Query.'], ['Subscription.a'], ['Query.a b'], ['xQuery.a']],
    [[], ['Query.a'], ['Mutation.a_B', 'Query.c']],
  ),
  'app_public.users users_email_form': EMAIL_FORM,
  'app_public.users users_email_normalized': EMAIL_NORMALIZED,
  'app_public.dealer_invitations dealer_invitations_email_form': EMAIL_FORM,
  'app_public.dealer_invitations dealer_invitations_email_normalized': EMAIL_NORMALIZED,
  'app_public.dealer_invitations dealer_invitations_one_end': {
    refused: [{ accepted_at: '2026-01-01Z', revoked_at: '2026-01-01Z' }],
    accepted: [{ accepted_at: '2026-01-01Z' }, { revoked_at: '2026-01-01Z' }, {}],
  },
  'app_public.dealer_invitations dealer_invitations_token_hash_length': check(
    'token_hash',
    ['\\x', `\\x${'00'.repeat(31)}`, `\\x${'00'.repeat(33)}`],
    [`\\x${'00'.repeat(32)}`],
  ),
  'app_public.dealer_api_keys dealer_api_keys_expires_later': {
    refused: [
      { created_at: '2026-01-01 00:00Z', expires_at: '2026-01-01 00:00Z' },
      { created_at: '2026-01-01 00:00Z', expires_at: '2025-12-31Z' },
    ],
    accepted: [
      { created_at: '2026-01-01 00:00Z', expires_at: '2026-01-01 00:00:00.000001Z' },
      { expires_at: null },
    ],
  },
  'app_public.dealer_api_keys dealer_api_keys_name_length': check(
    'name',
    [...NAME, times(101)],
    ['a', times(100)],
  ),
  'app_public.dealer_api_keys dealer_api_keys_prefix_form': check(
    'prefix',
    ['', times(11), times(13), `${times(11)}.`, `${times(12)}\n`],
    [times(12), 'AZaz09_-AZaz'],
  ),
  'app_public.dealer_api_keys dealer_api_keys_secret_hash_length': check(
    'secret_hash',
    ['\\x', `\\x${'00'.repeat(31)}`, `\\x${'00'.repeat(33)}`],
    [`\\x${'00'.repeat(32)}`],
  ),
  'app_public.users users_dealer_limit_not_negative': check('dealer_limit', [-1], [0, 1]),
  'app_public.users users_full_name_length': check('full_name', NAME, ['a', times(200)]),
  'app_public.dealers dealers_company_name_length': check('company_name', NAME, ['a', times(200)]),
  'app_public.dealers dealers_country_form': COUNTRY,
  'app_private.dealer_creations dealer_creations_number_positive': check('number', [0, -1], [1]),
  'app_private.user_passwords user_passwords_argon2id': check(
    'password_hash',
    ['', 'secret', '$argon2i$v=19', ' $argon2id$'],
    ['$argon2id$v=19'],
  ),
  'app_private.login_failures login_failures_not_negative': check('failures', [-1], [0]),
  'app_private.account_keys account_keys_one_row': check('id', [false], [true]),
}

export const PRICING_CHECKS: Record<string, Check> = {
  'app_public.currencies currencies_code_form': check('code', ['EU', 'EURO', 'eur', 'EU1'], ['AAA', 'ZZZ']),
  'app_public.currencies currencies_minor_units_range': check('minor_units', [-1, 5], [0, 4]),
  'app_public.country_currencies country_currencies_listing_days_range': check(
    'listing_days',
    [0, 3661],
    [1, 3660],
  ),
  'app_public.country_currencies country_currencies_country_form': COUNTRY,
  'app_public.vat_rates vat_rates_country_form': COUNTRY,
  'app_public.vat_rates vat_rates_rate_range': check('rate', ['-0.0001', '100.0001', 'NaN'], ['0', '100']),
  'app_public.vat_rates vat_rates_rate_scale': check('rate', ['14.97501', '0.00001'], ['14.9751', '0.0001']),
  'app_public.vat_rates vat_rates_valid_not_empty': NOT_EMPTY,
  'app_public.price_configs price_configs_unit_price_net_range': check(
    'unit_price_net',
    ['-0.01', '1000000', 'NaN'],
    ['0', '999999.99'],
  ),
  'app_public.price_configs price_configs_price_version_positive': check('price_version', [0, -1], [1]),
  'app_public.price_configs price_configs_valid_not_empty': NOT_EMPTY,
  'app_public.price_configs price_configs_duration_days_range': check('duration_days', [0, 3661], [1, 3660]),
  'app_public.free_quota_configs free_quota_configs_country_form': COUNTRY,
  'app_public.free_quota_configs free_quota_configs_quota_amount_range': check(
    'quota_amount',
    [-1, 100_001],
    [0, 100_000],
  ),
  'app_public.free_quota_configs free_quota_configs_period_days_range': check(
    'period_days',
    [0, 3661],
    [1, 3660],
  ),
  'app_public.free_quota_configs free_quota_configs_valid_not_empty': NOT_EMPTY,
  'app_private.pricing_conflicts pricing_conflicts_country_form': COUNTRY,
  'app_private.pricing_conflicts pricing_conflicts_configuration_known': check(
    'configuration',
    ['', 'package'],
    ['currency', 'vat_rate', 'price'],
  ),
  'app_private.pricing_conflicts pricing_conflicts_code_known': check(
    'code',
    ['', 'quota_exhausted'],
    ['pricing_config_missing', 'pricing_config_ambiguous'],
  ),
  'app_private.pricing_conflicts pricing_conflicts_count_positive': check('count', [0, -1], [1]),
  'app_private.pricing_conflicts pricing_conflicts_seen_in_order': {
    refused: [{ first_seen_at: '2026-01-01 00:00:00.000001Z', last_seen_at: '2026-01-01 00:00Z' }],
    accepted: [{ first_seen_at: '2026-01-01 00:00Z', last_seen_at: '2026-01-01 00:00Z' }],
  },
}
