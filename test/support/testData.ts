/** Rows that tests start with, written by the database owner, as a DBA would write them. */
import { randomUUID } from 'node:crypto'
import type pg from 'pg'

type Queryable = Pick<pg.ClientBase, 'query'>

export type Country = {
  country?: string
  currency?: string
  minorUnits?: number
  /** In percent; null configures no rate. */
  vatRate?: number | null
  /** Net price of a listing; null configures no price. */
  price?: string | null
  freeListings?: number
}

/** Configures a country. Default: Germany, 19 % VAT, 5.00 EUR a listing, no free listings. */
export async function makeCountry(db: Queryable, options: Country = {}): Promise<string> {
  const {
    country = 'DE',
    currency = 'EUR',
    minorUnits = 2,
    vatRate = 19,
    price = '5.00',
    freeListings = 0,
  } = options
  await db.query('insert into app_public.currencies values ($1, $2) on conflict do nothing', [
    currency,
    minorUnits,
  ])
  await db.query('insert into app_public.country_currencies values ($1, $2)', [country, currency])
  if (vatRate !== null) {
    await db.query(
      "insert into app_public.vat_rates (country, rate, valid) values ($1, $2, '[2020-01-01,)')",
      [country, vatRate],
    )
  }
  if (price !== null) {
    await db.query("select app_private.set_price($1, 'dealer', 'pay_per_listing', $2, '2020-01-01')", [
      country,
      price,
    ])
  }
  if (freeListings > 0) {
    await db.query(
      `insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
       values ($1, 'dealer', $2, 30, '[2020-01-01,)')`,
      [country, freeListings],
    )
  }
  return country
}

/** Makes a user with a verified address, so that its first dealer has free quota. It cannot log in, as registerUser says. */
export async function makeUser(db: Queryable, email?: string): Promise<string> {
  const id = await registerUser(db, email)
  await db.query('update app_public.users set email_verified_at = now() where id = $1', [id])
  return id
}

/** Makes a user that cannot log in: its password hash matches no password. */
export async function registerUser(db: Queryable, email = `${randomUUID()}@example.com`): Promise<string> {
  return single(db, 'select user_id as id from app_public.register_user($1, $2, $3)', [
    email,
    'Test User',
    '$argon2id$none',
  ])
}

/** Makes a user that is an admin, and cannot log in. */
export async function makeAdminUser(db: Queryable): Promise<string> {
  const id = await registerUser(db)
  await db.query('update app_public.users set is_admin = true where id = $1', [id])
  return id
}

/** Makes a dealer with this user as its owner. */
export async function makeDealer(db: Queryable, userId: string, country = 'DE'): Promise<string> {
  const id = await single(
    db,
    "insert into app_public.dealers (company_name, country, dealer_type) values ('Test', $1, 'auto_dealer') returning id",
    [country],
  )
  await db.query("insert into app_public.dealer_users (dealer_id, user_id, role) values ($1, $2, 'owner')", [
    id,
    userId,
  ])
  return id
}

export type Package = {
  country?: string
  listings?: number
  quotaKind?: 'per_period' | 'concurrent'
  overage?: 'charge' | 'block'
  priceNet?: string
  currency?: string
  days?: number
}

/** The column with its comma, and its value. Without a kind there is none, because the schema of release 0.2 has no such column. */
function quotaKindSql(kind: Package['quotaKind']): [column: string, value: string] {
  return kind === undefined ? ['', ''] : [', quota_kind', `, '${kind}'`]
}

export async function makePackage(db: Queryable, options: Package = {}): Promise<string> {
  const {
    country = 'DE',
    listings = 10,
    quotaKind,
    overage = 'charge',
    priceNet = '49.00',
    currency = 'EUR',
    days = 30,
  } = options
  const [column, value] = quotaKindSql(quotaKind)
  return single(
    db,
    `insert into app_public.dealer_packages (key, country, name, price_net, currency, duration_days, listing_limit, overage${column})
     values ('p' || substr(md5(random()::text), 1, 12), $1, '{"en": "Test"}', $2, $3, $4, $5, $6${value}) returning id`,
    [country, priceNet, currency, days, listings, overage],
  )
}

export type Subscription = Package & {
  packageId?: string
  status?: string
  startAt?: string
  endAt?: string
  premium?: number
  highlights?: number
}

/** Makes a subscription without an invoice. Default: active, started yesterday, 30 days long. Times are SQL expressions. */
export async function makeSubscription(
  db: Queryable,
  dealerId: string,
  options: Subscription = {},
): Promise<string> {
  const {
    listings = 10,
    quotaKind,
    overage = 'charge',
    status = 'active',
    startAt = "now() - interval '1 day'",
    endAt = "now() + interval '29 days'",
    premium = 0,
    highlights = 0,
  } = options
  const packageId = options.packageId ?? (await makePackage(db, options))
  const times = status === 'pending' ? 'null, null' : `${startAt}, ${endAt}`
  const [column, value] = quotaKindSql(quotaKind)
  return single(
    db,
    `insert into app_public.dealer_subscriptions
       (dealer_id, package_id, status, duration_days, overage, included_listing_quota, included_premium_quota,
        included_highlight_quota, start_at, end_at${column})
     values ($1, $2, $3, 30, $4, $5, $6, $7, ${times}${value}) returning id`,
    [dealerId, packageId, status, overage, listings, premium, highlights],
  )
}

/** Publishes a listing through the SQL function, as the current user of the transaction. */
export async function publish(
  db: Queryable,
  dealerId: string,
  key: string = randomUUID(),
  title = 'A car',
): Promise<string> {
  return single(db, "select id from app_public.create_listing($1, $2, $3, 'auto', 9900, 'EUR')", [
    dealerId,
    key,
    title,
  ])
}

/** Returns the first column of the only row. Throws unless there is exactly one row. */
export async function single(db: Queryable, sql: string, values: unknown[] = []): Promise<string> {
  const { rows } = await db.query(sql, values)
  if (rows.length !== 1) throw new Error(`expected one row, got ${rows.length}`)
  return Object.values(rows[0] as Record<string, string>)[0] as string
}
