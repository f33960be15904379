/** The data of the benchmark: dealers that pay for listings in three ways, each with a member and a token. */

import { randomUUID } from 'node:crypto'
import { hashPassword } from '../../src/identity/passwords.ts'
import { makeTokens } from '../../src/identity/tokens.ts'
import { type Cluster, type Database, jwtSecret } from './cluster.ts'

export type Dealer = { dealerId: string; userId: string; email: string; token: string }

export type Dataset = {
  database: Database
  /** One third has free quota, one third a subscription, and one third pays. */
  dealers: Dealer[]
  /** Has one large subscription, so that all its publications wait for the lock of one row. */
  hotDealer: Dealer
  /** A member of all dealers: for calls without HTTP. */
  fleetUserId: string
  passwordHash: string
}

const DEALERS = 9_000
export const PASSWORD = 'forecourt-bench'

/**
 * Quotas are never used up, so that the mix of sources is the same in every round. Germany has free listings, Austria does
 * not.
 */
const CONFIGURATION = `
  insert into app_public.currencies (code, minor_units) values ('EUR', 2);
  insert into app_public.country_currencies (country, currency) values ('DE', 'EUR'), ('AT', 'EUR');
  insert into app_public.vat_rates (country, rate, valid)
  values ('DE', 19, '[2020-01-01,)'), ('AT', 20, '[2020-01-01,)');
  select app_private.set_price(c.country, 'dealer', 'pay_per_listing', 5.00, '2020-01-01')
  from app_public.country_currencies as c;
  insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
  values ('DE', 'dealer', 100000, 30, '[2020-01-01,)');
  insert into app_public.dealer_packages (key, country, name, price_net, currency, duration_days, listing_limit)
  select 'fleet', c.country, '{"en": "Fleet"}', 499.00, 'EUR', 3650, 1000000000 from app_public.country_currencies as c;
  update app_public.rate_limit_policies set mode = 'off'`

/** Dealer 0 is the hot dealer. Of the others, every third is German, and every third has a subscription without quota. */
const DEALERS_WITH_MEMBERS = `
  with people as (
    select n, r.user_id
    from generate_series(0, $1::integer) as n
    cross join lateral app_public.register_user('dealer' || n || '@example.com', 'Dealer ' || n, $2) as r
  ), made as (
    insert into app_public.dealers (company_name, country, dealer_type)
    select 'Dealer ' || n, case when n > 0 and n % 3 = 0 then 'DE' else 'AT' end, 'auto_dealer'
    from generate_series(0, $1::integer) as n
    returning id, substr(company_name, 8)::integer as n
  ), fleet as (
    select r.user_id from app_public.register_user('fleet@example.com', 'Fleet', $2) as r
  ), members as (
    insert into app_public.dealer_users (dealer_id, user_id, role)
    select m.id, p.user_id, 'owner'::app_public.dealer_role from made as m join people as p using (n)
    union all
    select m.id, f.user_id, 'staff' from made as m cross join fleet as f
  )
  select f.user_id as fleet from fleet as f`

const SUBSCRIPTIONS = `
  insert into app_public.dealer_subscriptions
    (dealer_id, package_id, status, duration_days, included_listing_quota, start_at, end_at)
  select d.id, p.id, 'active', 3650,
    case when substr(d.company_name, 8)::integer % 3 = 2 then 0 else p.listing_limit end,
    now() - interval '1 day', now() + interval '3649 days'
  from app_public.dealers as d join app_public.dealer_packages as p on p.country = d.country`

/** Longer than a run: the benchmark does not refresh sessions. */
const TOKEN_SECONDS = 8 * 60 * 60

const READ_DEALERS = `
  select d.id as "dealerId", u.id as "userId", u.email
  from app_public.dealers as d
  join app_public.users as u on u.email = 'dealer' || substr(d.company_name, 8) || '@example.com'
  order by substr(d.company_name, 8)::integer`

export async function makeDataset(cluster: Cluster): Promise<Dataset> {
  const database = await cluster.create()
  const { superuser } = database
  const passwordHash = await hashPassword(PASSWORD)
  await superuser.query(CONFIGURATION)
  const { rows } = await superuser.query<{ fleet: string }>(DEALERS_WITH_MEMBERS, [DEALERS, passwordHash])
  await superuser.query(SUBSCRIPTIONS)
  const tokens = makeTokens(jwtSecret, TOKEN_SECONDS)
  const { rows: made } = await superuser.query<Omit<Dealer, 'token'>>(READ_DEALERS)
  const all = await Promise.all(
    made.map(async dealer => {
      const { accessToken } = await tokens.issue({
        userId: dealer.userId,
        sessionId: randomUUID(),
        role: 'dealer',
      })
      return { ...dealer, token: accessToken }
    }),
  )
  const [hotDealer, ...dealers] = all
  const fleetUserId = rows[0]?.fleet
  if (hotDealer === undefined || fleetUserId === undefined) throw new Error('the dealers were not made')
  return { database, dealers, hotDealer, fleetUserId, passwordHash }
}

/** The same dealers in a database of their own. */
export async function copyDataset(cluster: Cluster, dataset: Dataset): Promise<Dataset> {
  return { ...dataset, database: await cluster.create(dataset.database) }
}
