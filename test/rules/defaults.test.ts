/** Each column that a statement may leave out gets this value. A new default fails the last test until it is listed here. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { isolate, planting } from './rows.ts'
import { type Seeded, seedDatabase } from './seed.ts'

/** The new value of a column named `value`, as a condition in SQL. Any other word is the value itself. */
const CONDITIONS: Record<string, string> = {
  '(id)': "value::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7'",
  '(now)': 'value between now() and clock_timestamp()',
  '(login)': 'value = session_user',
}
const ENTITY = 'id=(id) created_at=(now)'
const CHANGING = `${ENTITY} updated_at=(now)`

const DEFAULTS: Record<string, string> = {
  'app_private.account_keys': 'id=true',
  'app_private.alerts': `${ENTITY} details={}`,
  'app_private.job_runs': 'id=(id) started_at=(now) counted=0',
  'app_private.ledger_checks': 'id=(id)',
  'app_private.mail_templates': 'updated_at=(now)',
  'app_private.mails': `${ENTITY} parameters={}`,
  'app_private.operation_settings':
    'only_row=true audit_retention_months=120 mail_retention_days=14 invitation_retention_days=90',
  'app_private.pricing_conflicts': 'id=(id)',
  'app_private.revoked_sessions': 'revoked_at=(now)',
  'app_private.sessions': ENTITY,
  'app_private.user_passwords': 'updated_at=(now)',
  'app_public.audit_logs': `${ENTITY} login=(login)`,
  'app_public.checkouts': 'created_at=(now) quota_kind=per_period',
  'app_public.country_currencies': 'moderation=before listing_days=90',
  'app_public.dealer_api_keys': ENTITY,
  'app_public.dealer_invitations': ENTITY,
  'app_public.dealer_packages':
    'id=(id) premium_quota=0 highlight_quota=0 overage=charge is_active=true quota_kind=per_period',
  'app_public.dealer_subscriptions': `${CHANGING} status=pending overage=charge quota_kind=per_period used_listing_quota=0
    included_premium_quota=0 used_premium_quota=0 included_highlight_quota=0 used_highlight_quota=0`,
  'app_public.dealer_users': 'created_at=(now)',
  'app_public.dealers': `${CHANGING} is_active=true can_publish=true has_free_quota=true is_trusted=false slots_in_use=0`,
  'app_public.free_quota_configs': 'id=(id)',
  'app_public.invoice_items': `${ENTITY} discount=0 quantity=1`,
  'app_public.invoices': `${CHANGING} status=draft net_total=0 vat_total=0 gross_total=0`,
  'app_public.listing_consumptions': `${ENTITY} number=1`,
  'app_public.listings': `${CHANGING} status=pending attributes={} images={} listing_days=90 holds_slot=false
    is_premium=false is_highlighted=false`,
  'app_public.price_configs': 'id=(id) duration_days=30',
  'app_public.rate_limit_policies':
    'fields={} cost=1 mode=enforce fallback=local updated_by=(login) updated_at=(now)',
  'app_public.users': `${ENTITY} is_admin=false dealer_limit=5 locale=en`,
  'app_public.vat_rates': 'id=(id)',
}

const entries = (table: string): [column: string, value: string][] =>
  (DEFAULTS[table] ?? '').split(/\s+/).map(entry => entry.split('=') as [string, string])

let seeded: Seeded

beforeAll(async () => {
  seeded = await seedDatabase()
})

afterAll(() => seeded.database.drop())

test.each(Object.keys(DEFAULTS))('a column that is left out gets its default: %s', table =>
  planting(seeded.database, async client => {
    await isolate(client, table, '')
    const { rows: columns } = await client.query<{ name: string }>(
      'select attname::text as name from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped',
      [table],
    )
    for (const [column, value] of entries(table)) {
      const given = columns.map(({ name }) => name).filter(name => name !== column)
      const condition = CONDITIONS[value] ?? `value::text = '${value}'`
      const { rows } = await client.query(
        `with made as (insert into ${table} (${given}) select ${given} from ${table} limit 1 returning ${column} as value)
         select value, ${condition} as is_default from made`,
      )
      expect([column, rows]).toMatchObject([column, [{ is_default: true }]])
    }
  }),
)

test('every default is listed', async () => {
  const { rows } = await seeded.database.superuser.query<{ label: string }>(
    `select c.oid::regclass || ' ' || a.attname as label from pg_class as c
     join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and a.atthasdef
     where c.relnamespace in ('app_public'::regnamespace, 'app_private'::regnamespace)
       and c.relkind in ('r', 'p') and not c.relispartition`,
  )
  const listed = Object.keys(DEFAULTS).flatMap(table =>
    entries(table).map(([column]) => `${table} ${column}`),
  )
  expect(rows.map(({ label }) => label).sort()).toEqual(listed.sort())
})
