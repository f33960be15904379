/** A database with at least one row in every table: two dealers with sales of their own, and the rows of the system. */
import { become, cloneDatabase, type TestDatabase } from '../support/database.ts'
import { buyAndCommit, payAndCommit } from '../support/purchases.ts'
import { makeAdminUser, makeCountry, makePackage, makeUser, publish, single } from '../support/testData.ts'
import { committed } from '../support/transactions.ts'

export type Seller = { userId: string; dealerId: string }
export type Seeded = { database: TestDatabase; sellers: [Seller, Seller]; adminId: string }

/** A user and a dealer without any rows of their own. New rows of the tests may refer to them. */
export const BYSTANDER = {
  userId: '0190a000-0000-7000-8000-00000000000a',
  dealerId: '0190a000-0000-7000-8000-00000000000b',
}

/** The period of the rows for exclusion constraints. */
export const PERIOD = '[2026-01-01,2026-02-01)'

/** The first mail has a template in one language, so that the other one is unknown. */
const FIRST_ROWS = [
  "insert into app_private.mail_templates (kind, locale, subject, body) values ('seeded', 'en', 'A test', 'A test')",
  "select app_private.queue_mail('seeded', 'a@example.com', 'en')",
]
const SYSTEM_ROWS = [
  "select app_public.take_rate_limit('\\x00', 10, 60, 1)",
  "select app_public.begin_login('a@example.com', '192.0.2.1')",
  "select app_public.register_user('a@example.com', 'Test', '$argon2id$none')",
  "select app_public.complete_login('a@example.com', '192.0.2.1', '\\x00', 5, '$argon2id$none')",
  `select app_public.request_password_reset('a@example.com', '\\x${'01'.repeat(32)}', '\\x00')`,
  `select app_public.request_password_reset('b@example.com', '\\x${'03'.repeat(32)}', '\\x00')`,
  "select app_private.begin_job_run('expire_subscriptions')",
  "select app_private.send_alert('test', 'seed', 'A test.')",
  "select app_private.record_alert_delivery(a.id, 'webhook') from app_private.alerts as a",
  `select app_public.record_pricing_conflicts('[{
     "country": "DE", "segment": "dealer", "configuration": "vat_rate", "code": "pricing_config_missing", "count": 1}]')`,
  'select app_private.check_ledger()',
  // periods that end, for the exclusion constraints
  `insert into app_public.vat_rates (country, rate, valid) values ('NL', 21, '${PERIOD}')`,
  `insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
   values ('NL', 'dealer', 1, 30, '${PERIOD}')`,
  `insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid)
   values ('US', 'dealer', 'highlight_fee', 1, 'USD', 1, '${PERIOD}')`,
  `insert into app_public.users (id, email, full_name) values ('${BYSTANDER.userId}', 'bystander@example.com', 'Test')`,
  // one session lives, the other has ended
  `select app_private.open_session('${BYSTANDER.userId}', '\\x00')`,
  `delete from app_private.sessions`,
  `select app_private.open_session('${BYSTANDER.userId}', '\\x00')`,
  `insert into app_public.dealers (id, company_name, country, dealer_type)
   values ('${BYSTANDER.dealerId}', 'Test', 'DE', 'general')`,
]

export async function seedDatabase(): Promise<Seeded> {
  const database = await cloneDatabase()
  const { owner } = database
  await makeCountry(owner, { freeListings: 1 })
  await makeCountry(owner, { country: 'US', currency: 'USD' })
  await owner.query("select app_private.set_price('DE', 'dealer', 'highlight_fee', 3, '2020-01-01')")
  const packageId = await makePackage(owner, { listings: 1 })
  await makePackage(owner)
  await owner.query('update app_public.dealer_packages set is_active = false where id <> $1', [packageId])
  for (const sql of FIRST_ROWS) await owner.query(sql)
  const adminId = await makeAdminUser(owner)
  const sellers: [Seller, Seller] = [
    await sell(database, packageId, adminId),
    await sell(database, packageId, adminId),
  ]
  for (const sql of SYSTEM_ROWS) await owner.query(sql)
  return { database, sellers, adminId }
}

/** A dealer with a paid package, a free, an included and a charged listing (the free one is active and promoted), an open purchase, an invitation and an API key. */
async function sell(database: TestDatabase, packageId: string, adminId: string): Promise<Seller> {
  const userId = await makeUser(database.owner)
  const dealerId = await committed(database, { dealer: userId }, client =>
    single(client, "select id from app_public.create_dealer('Test', 'DE', 'general', gen_random_uuid())"),
  )
  await payAndCommit(database, await buyAndCommit(database, userId, dealerId, packageId))
  await committed(database, { dealer: userId }, client =>
    client.query(
      "select app_public.invite_member($1, $2 || '@example.com', 'staff', sha256($2::bytea), sha256($2::bytea))",
      [dealerId, userId],
    ),
  )
  await committed(database, { dealer: userId }, client =>
    client.query("select app_public.create_api_key($1, 'Test', null, 'aaaaaaaaaaaa', sha256('a'))", [
      dealerId,
    ]),
  )
  await committed(database, { dealer: userId }, async client => {
    for (let number = 1; number <= 3; number += 1) await publish(client, dealerId)
    // a fourth one was rejected, given back, and submitted again
    const id = await publish(client, dealerId)
    await become(client, { admin: adminId })
    await client.query("select app_public.moderate_listing($1, 'reject', 'A test.')", [id])
    await become(client, { dealer: userId })
    await client.query('select app_public.resubmit_listing($1, gen_random_uuid())', [id])
  })
  await buyAndCommit(database, userId, dealerId, packageId)
  await database.owner.query(
    `update app_public.listings as l set status = 'active', external_id = 'A-1', published_at = now(), expires_at = now() + interval '90 days' from app_public.listing_consumptions as lc
     where lc.listing_id = l.id and lc.source = 'free_quota' and l.dealer_id = $1`,
    [dealerId],
  )
  await committed(database, { dealer: userId }, client =>
    client.query(
      "select app_public.promote_listing(id, 'highlight', gen_random_uuid()) from app_public.listings where dealer_id = $1 and status = 'active'",
      [dealerId],
    ),
  )
  return { userId, dealerId }
}
