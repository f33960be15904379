/** Each role reads exactly these rows and columns, writes no table, and calls exactly these functions: tried for each of the database. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { type As, become } from '../support/database.ts'
import { planting } from './rows.ts'
import { type Seeded, seedDatabase } from './seed.ts'

const ROLES = ['visitor', 'dealer', 'admin', 'authenticator'] as const
type Role = (typeof ROLES)[number]

/** The rows that a role sees, as a condition in SQL; a role without a condition may not read the table. */
type Access = Partial<Record<Role, string>> & {
  columns?: string
  memberColumns?: string
  adminColumns?: string
}

const OWN = { dealer: 'dealer_id = $dealer', admin: 'true' }
const ALL = { visitor: 'true', dealer: 'true', admin: 'true' }
const READABLE: Record<string, Access> = {
  'app_public.accounts': { admin: 'true' },
  'app_public.audit_logs': { admin: 'true' },
  'app_public.checkouts': {
    ...OWN,
    columns: 'dealer_id invoice_id package_id provider url expires_at closed_at created_at',
  },
  'app_public.country_currencies': ALL,
  'app_public.currencies': ALL,
  'app_public.dealer_api_keys': {
    ...OWN,
    columns: 'dealer_id id name prefix created_by created_at expires_at revoked_at last_used_at',
  },
  'app_public.dealer_invitations': {
    ...OWN,
    columns: 'dealer_id id email role created_by created_at expires_at',
  },
  'app_public.dealer_packages': { visitor: 'is_active', dealer: 'is_active', admin: 'true' },
  'app_public.dealer_subscriptions': OWN,
  'app_public.dealer_users': OWN,
  'app_public.dealers': {
    visitor: 'false',
    dealer: 'id = $dealer',
    admin: 'true',
    columns: 'id company_name country dealer_type is_active can_publish created_at updated_at is_trusted',
    memberColumns: 'slots_in_use',
  },
  'app_public.free_quota_configs': ALL,
  'app_public.invoice_items': OWN,
  'app_public.invoices': OWN,
  'app_public.listing_consumptions': { visitor: 'false', ...OWN },
  'app_public.listing_promotions': { visitor: 'false', ...OWN },
  'app_public.listings': {
    visitor: "status = 'active'",
    dealer: "status = 'active' or dealer_id = $dealer",
    admin: 'true',
    columns:
      'dealer_id id status title description module price currency attributes images external_id published_at expires_at rejection_reason created_at updated_at country is_premium is_highlighted',
    memberColumns: 'holds_slot',
    adminColumns: 'moderation_reason moderation_since',
  },
  'app_public.moderation_queue': { admin: 'true' },
  'app_public.price_configs': ALL,
  'app_public.pricing_gaps': { admin: 'true' },
  'app_public.rate_limit_policies': { admin: 'true', authenticator: 'true' },
  'app_public.users': {
    dealer: 'id = $user',
    admin: 'true',
    columns: 'id email full_name created_at locale email_verified_at',
    adminColumns: 'is_admin dealer_limit locked_at deleted_at',
  },
  'app_public.vat_rates': ALL,
}

const MEMBERS: Role[] = ['dealer', 'admin']
const SERVER: Role[] = ['authenticator']

/** Who may call a function. Every other function is refused to all of the roles. */
const CALLABLE: Record<string, Role[]> = {
  accept_invitation: MEMBERS,
  applied_migrations: SERVER,
  begin_login: SERVER,
  begin_password_check: SERVER,
  begin_password_reset: SERVER,
  buy_package: MEMBERS,
  cancel_checkout: MEMBERS,
  cancel_subscription: MEMBERS,
  change_email: SERVER,
  change_password: SERVER,
  close_country: ['admin'],
  complete_login: SERVER,
  complete_password_reset: SERVER,
  complete_registration: SERVER,
  consumption_of_listing: MEMBERS,
  create_api_key: MEMBERS,
  create_dealer: MEMBERS,
  create_listing: MEMBERS,
  create_listings: MEMBERS,
  current_dealer_ids: ['dealer'],
  current_owned_dealer_ids: ['dealer'],
  current_user_id: ['visitor', 'dealer', 'admin'],
  dealer_packages_price_gross: ['visitor', 'dealer', 'admin'],
  dealer_packages_vat_rate: ['visitor', 'dealer', 'admin'],
  delete_my_account: MEMBERS,
  export_my_data: MEMBERS,
  find_api_keys: SERVER,
  get_current_user: MEMBERS,
  grant_subscription: ['admin'],
  invite_member: MEMBERS,
  is_admin: ['admin'],
  is_open_dealer: ['visitor', 'dealer', 'admin'],
  lock_user: ['admin'],
  log_in: SERVER,
  logout: MEMBERS,
  mark_listing_sold: MEMBERS,
  moderate_listing: ['admin'],
  oldest_release: SERVER,
  open_country: ['admin'],
  operation_metrics: SERVER,
  pay_invoice: ['admin'],
  promote_listing: MEMBERS,
  quote_listing: MEMBERS,
  quote_package: MEMBERS,
  quote_promotion: MEMBERS,
  record_api_key_use: SERVER,
  record_pricing_conflicts: SERVER,
  refresh_session: SERVER,
  register_user: SERVER,
  remove_member: MEMBERS,
  retire_package: ['admin'],
  revoke_api_key: MEMBERS,
  revoke_invitation: MEMBERS,
  revoked_session_ids: SERVER,
  role_at_dealer: ['visitor', 'dealer', 'admin'],
  save_package: ['admin'],
  seller_of_listing: ['visitor', 'dealer', 'admin'],
  set_dealer_status: ['admin'],
  set_free_quota: ['admin'],
  set_member_role: MEMBERS,
  set_price: ['admin'],
  set_rate_limit_policy: ['admin'],
  set_vat_rate: ['admin'],
  sign_up: SERVER,
  slots_of_dealer: ['visitor', 'dealer', 'admin'],
  renew_listing: MEMBERS,
  request_email_verification: SERVER,
  request_password_reset: SERVER,
  resubmit_listing: MEMBERS,
  status_of_checkout: MEMBERS,
  take_rate_limit: SERVER,
  take_rate_limit_batch: SERVER,
  take_rate_limits: SERVER,
  unlock_user: ['admin'],
  update_dealer: MEMBERS,
  update_listing: MEMBERS,
  update_profile: MEMBERS,
  user_of_member: MEMBERS,
  verify_email: SERVER,
  withdraw_listing: MEMBERS,
}

const RELATIONS = `
  select c.oid::regclass::text as label, array(
    select a.attname::text from pg_attribute as a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
    c.relkind = 'v' as is_view
  from pg_class as c
  where c.relnamespace in ('app_public'::regnamespace, 'app_private'::regnamespace) and c.relkind in ('r', 'p', 'v', 'm')
  order by 1`

/** Functions with null for each argument. Trigger functions cannot be called. */
const CALLS = `
  select p.proname as name, format('select %s(%s)', p.oid::regproc, (
    select string_agg('null::' || format_type(t.type, null), ', ' order by t.number)
    from unnest(p.proargtypes) with ordinality as t (type, number))) as call
  from pg_proc as p
  where p.pronamespace in ('app_public'::regnamespace, 'app_private'::regnamespace) and p.prokind = 'f'
    and p.prorettype <> 'trigger'::regtype
    and not exists (select from pg_depend as d where d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e')
  order by 1`

let seeded: Seeded
let relations: { label: string; columns: string[]; is_view: boolean }[]

beforeAll(async () => {
  seeded = await seedDatabase()
  relations = (await seeded.database.superuser.query(RELATIONS)).rows
})

afterAll(() => seeded.database.drop())

const asRole = (role: Role): As => {
  if (role === 'admin') return { admin: seeded.adminId }
  return role === 'dealer' ? { dealer: seeded.sellers[0].userId } : role
}

/** The number in the only row, or the SQLSTATE of the refusal. */
async function tried(client: pg.ClientBase, sql: string): Promise<number | string> {
  await client.query('savepoint tried')
  try {
    const { rows } = await client.query<{ count: number }>(sql)
    return rows[0]?.count ?? 0
  } catch (error) {
    return String((error as pg.DatabaseError).code)
  } finally {
    await client.query('rollback to savepoint tried')
  }
}

const columnsOf = (role: Role, access: Access = {}, all: string[]): string[] =>
  access.columns === undefined
    ? all
    : [
        access.columns,
        MEMBERS.includes(role) ? access.memberColumns : undefined,
        role === 'admin' ? access.adminColumns : undefined,
      ]
        .join(' ')
        .split(' ')

test.each(ROLES)('a role reads the rows and the columns that are listed, and no others: %s', role =>
  planting(seeded.database, async client => {
    const { userId, dealerId } = seeded.sellers[0]
    const visible = (condition: string) =>
      condition.replace('$dealer', `'${dealerId}'`).replace('$user', `'${userId}'`)
    for (const { label, columns } of relations) {
      const condition = READABLE[label]?.[role]
      const readable = condition === undefined ? [] : columnsOf(role, READABLE[label], columns)
      await client.query('reset role')
      const rows = await tried(
        client,
        `select count(*)::int from ${label} where ${visible(condition ?? 'false')}`,
      )
      await become(client, asRole(role))
      for (const column of columns) {
        const expected = readable.includes(column) ? rows : '42501'
        const read = `select count(*)::int from (select ${column} from ${label}) as t`
        expect([label, column, await tried(client, read)]).toEqual([label, column, expected])
      }
    }
  }),
)

test.each(ROLES)('a role that may read a table by mistake sees only the rows that are listed: %s', role =>
  planting(seeded.database, async client => {
    const { userId, dealerId } = seeded.sellers[0]
    await client.query(`grant usage on schema app_private to forecourt_${role}`)
    // the policies call a function of its own
    await client.query(`grant execute on all functions in schema app_public to forecourt_${role}`)
    for (const { label } of relations.filter(({ is_view }) => !is_view)) {
      const condition = (READABLE[label]?.[role] ?? 'false').replace('$dealer', `'${dealerId}'`)
      await client.query('reset role')
      const rows = await tried(
        client,
        `select count(*)::int from ${label} where ${condition.replace('$user', `'${userId}'`)}`,
      )
      await client.query(`grant select on ${label} to forecourt_${role}`)
      await become(client, asRole(role))
      expect([label, await tried(client, `select count(*)::int from ${label}`)]).toEqual([label, rows])
    }
  }),
)

test('the rows that are listed differ from those of the other dealer', () =>
  planting(seeded.database, async client => {
    for (const [label, { dealer }] of Object.entries(READABLE)) {
      const { rows } = await client.query(`select count(*)::int as count from ${label}`)
      if (dealer?.includes('$')) expect([label, rows[0].count > 1]).toEqual([label, true])
    }
  }))

test.each(ROLES)('a role writes no table: %s', role =>
  planting(seeded.database, async client => {
    await become(client, asRole(role))
    for (const { label, columns } of relations.filter(({ is_view }) => !is_view)) {
      const writes = [
        `insert into ${label} default values`,
        ...columns.flatMap(column => [
          `insert into ${label} (${column}) values (null)`,
          `update ${label} set ${column} = null`,
        ]),
        `delete from ${label}`,
        `truncate ${label}`,
      ]
      for (const sql of writes) expect([sql, await tried(client, sql)]).toEqual([sql, '42501'])
    }
  }),
)

test.each(ROLES)('a role calls the functions that are listed, and no others: %s', role =>
  planting(seeded.database, async client => {
    const { rows } = await client.query<{ name: string; call: string }>(CALLS)
    await become(client, asRole(role))
    const called: string[] = []
    for (const { name, call } of rows) if ((await tried(client, call)) !== '42501') called.push(name)
    expect(called).toEqual(
      Object.keys(CALLABLE)
        .filter(name => CALLABLE[name]?.includes(role))
        .sort(),
    )
  }),
)
