/** Calls of the functions that take a dealer, an id or a key. `$1` is the dealer. */
import { BYSTANDER } from './seed.ts'

export const KEY = '0190a000-0000-7000-8000-0000000000aa'
export const HASH = "'\\xaa'::bytea"
const NOW = 'clock_timestamp()'
const LATER = "clock_timestamp() + interval '1000 days'"

/** Placeholders: the dealer, and the rows of this dealer, whose ids the other one has as well. */
export const IDS: Record<string, string> = {
  $invoice:
    "(select id from app_public.invoices where dealer_id = $1 and kind = 'package' and status = 'draft')",
  $pending: "(select id from app_public.dealer_subscriptions where dealer_id = $1 and status = 'pending')",
  $key: '(select id from app_public.dealer_api_keys where dealer_id = $1)',
  $listing: '(select min(listing_id::text)::uuid from app_public.listing_consumptions where dealer_id = $1)',
}

/** Calls that return rows of the dealer, or figures about them: the same for a dealer with and without a twin. */
export const READING: Record<string, string> = {
  replay_checkout: `select r.dealer_id from app_private.replay_checkout($1, '${KEY}', ${HASH}) as r`,
  review_listings: `select r.number, r.fits, r.refusal::text from app_private.review_listings($1, array[
    row('${KEY}', 'A car', 'auto', 1, 'EUR', null, null, null, null)::app_public.new_listing]) as r`,
  replay_listing: `select r.dealer_id from app_private.replay_listing($1, '${KEY}', ${HASH}) as r`,
  lock_dealer: 'select r.id from app_private.lock_dealer($1) as r',
  open_subscriptions: `select array(select s.id from unnest(app_private.open_subscriptions($1, ${NOW})) as s) as found`,
  count_free_slots: `select app_private.count_free_slots(s, ${NOW}) as found from app_public.dealer_subscriptions as s
    where s.dealer_id = $1 and s.status = 'active'`,
  slots_of_dealer: 'select r.used, r.capacity from app_public.slots_of_dealer($1) as r',
  try_lock_dealer: 'select app_private.try_lock_dealer($1) as found',
  decide_publication: `select r.source, r.subscription_id, r.starts_subscription, r.free_remaining, r.subscription_remaining
    from app_private.decide_publication($1, 'DE', ${NOW}, false) as r`,
  decide_promotion: `select (r.decision).source, (r.decision).subscription_remaining, r.starts_at::text from app_public.listings as l
    cross join lateral app_private.decide_promotion(l, 'highlight', ${NOW}) as r where l.dealer_id = $1 and l.status = 'active'`,
  is_charged: `select app_private.is_charged(l, '${KEY}') as found from app_public.listings as l where l.dealer_id = $1 and l.id = $listing`,
  consumption_of_listing:
    'select r.dealer_id, r.id from app_public.consumption_of_listing($1, $listing) as r',
  is_open_dealer: 'select app_public.is_open_dealer($1)',
  status_of_checkout: 'select app_public.status_of_checkout($1, $invoice)',
  is_valid_api_key:
    'select app_private.is_valid_api_key(k) as found from app_public.dealer_api_keys as k where k.dealer_id = $1',
  lock_own_dealer: 'select r.id from app_private.lock_own_dealer($1) as r',
  require_owner: 'select app_private.require_owner($1) as found',
  user_of_member: 'select r.id from app_public.user_of_member($1, app_public.current_user_id()) as r',
  role_at_dealer: 'select app_public.role_at_dealer($1)',
  seller_of_listing: 'select r.id from app_public.seller_of_listing($1) as r',
  quote_listing:
    'select r.source, r.free_remaining, r.subscription_remaining from app_public.quote_listing($1) as r',
}

const START = ['dealer_subscriptions']
const MAKE_ADMIN =
  'update app_public.users set is_admin = true where id = app_public.current_user_id() and $1::uuid is not null'

/** The decisions for listings that a subscription and a price pay for. */
const CHARGES = `from app_private.decide_publication($1, 'DE', ${NOW}, false) as d
  join app_public.price_configs as p on p.country = 'DE' and p.segment = 'dealer' and p.pricing_type = 'pay_per_listing'
  cross join lateral (values ('Included', d), ('Extra', jsonb_populate_record(d, jsonb_build_object('source', 'paid_extra',
    'subscription_id', null, 'starts_subscription', false, 'price_config_id', p.id, 'price_version', 1)))) as charge (title, d)`

/** So many listings for each of these decisions. */
const copyListings = (count: number) =>
  `insert into app_public.listings select (jsonb_populate_record(l, jsonb_build_object(
     'id', gen_random_uuid(), 'external_id', null, 'idempotency_key', gen_random_uuid(), 'title', t.title))).*
   from app_public.listings as l, (values ('Included'), ('Extra')) as t (title), generate_series(1, ${count})
   where l.dealer_id = $1 and l.status = 'active'`

/** An open invitation, which a second one of the same address revokes. */
const INVITED = "update app_public.dealer_invitations set email = 'invited@example.com' where dealer_id = $1"
/** A member of both dealers. */
const JOINED = `insert into app_public.dealer_users select d.id, '${BYSTANDER.userId}', 'staff' from app_public.dealers as d
  where d.id in ($1, '${BYSTANDER.dealerId}')`

/** Calls that write: the tables of the dealer that change. `prepare` runs before the twin is made. */
export const WRITING: Record<string, { call: string; changed: string[]; prepare?: string }> = {
  close_expired_checkout: {
    call: `select app_private.close_expired_checkout($1, ${LATER})`,
    changed: ['invoices', 'checkouts'],
  },
  void_checkout: {
    call: `select app_private.void_checkout($1, $invoice, ${NOW})`,
    changed: ['invoices', 'checkouts'],
  },
  settle_invoice: {
    call: 'select app_private.settle_invoice($1, $invoice)',
    changed: ['invoices', 'checkouts', 'dealer_subscriptions'],
  },
  start_subscription: {
    call: `select app_private.start_subscription($1, $invoice, ${NOW})`,
    changed: ['checkouts', 'dealer_subscriptions'],
  },
  start_or_queue: {
    call: `select app_private.start_or_queue($1, ${LATER})`,
    changed: START,
  },
  grant_subscription: {
    call: "select app_public.grant_subscription($1, (select id from app_public.dealer_packages where is_active), 'A test')",
    changed: START,
    prepare: MAKE_ADMIN,
  },
  // it changes the row of the dealer only
  set_dealer_status: {
    call: "select app_public.set_dealer_status($1, true, false, 'A test')",
    changed: [],
    prepare: MAKE_ADMIN,
  },
  expire_ended_subscription: {
    call: `select app_private.expire_ended_subscription($1, ${LATER})`,
    changed: START,
  },
  start_pending_subscription: {
    call: `select app_private.start_pending_subscription($1, $pending, ${NOW})`,
    changed: START,
  },
  activate_pending_subscriptions: {
    call: 'select app_private.activate_pending_subscriptions(array[$1::uuid])',
    changed: START,
    prepare: `update app_public.dealer_subscriptions set end_at = start_at + interval '1 microsecond',
      status = case status when 'active' then 'expired' else status end where status <> 'pending' and dealer_id = $1`,
  },
  buy_package: {
    call: 'select app_public.buy_package($1, (select id from app_public.dealer_packages where is_active), gen_random_uuid())',
    changed: ['invoices', 'invoice_items', 'checkouts'],
    prepare: 'update app_public.checkouts set closed_at = now() where dealer_id = $1',
  },
  create_listing: {
    call: "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')",
    changed: ['dealer_subscriptions', 'listings', 'listing_consumptions'],
  },
  // it changes the row of the dealer only
  update_dealer: { call: "select app_public.update_dealer($1, 'Renamed')", changed: [] },
  invite_member: {
    call: "select app_public.invite_member($1, 'invited@example.com', 'staff', sha256('a'), '\\xaa')",
    changed: ['dealer_invitations'],
    prepare: INVITED,
  },
  create_api_key: {
    call: "select app_public.create_api_key($1, 'Another', null, 'bbbbbbbbbbbb', sha256('b'))",
    changed: ['dealer_api_keys'],
  },
  record_api_key_use: {
    call: 'select app_public.record_api_key_use($1, $key)',
    changed: ['dealer_api_keys'],
  },
  set_member_role: {
    call: `select app_public.set_member_role($1, '${BYSTANDER.userId}', 'owner')`,
    changed: ['dealer_users'],
    prepare: JOINED,
  },
  remove_member: {
    call: `select app_public.remove_member($1, '${BYSTANDER.userId}')`,
    changed: ['dealer_users'],
    prepare: JOINED,
  },
  // it changes the row of the dealer only
  take_slots: {
    call: "select app_private.take_slots($1, s.id, 1, now()) from app_public.dealer_subscriptions as s where s.dealer_id = $1 and s.status = 'active'",
    changed: [],
  },
  create_listings: {
    call: `select app_public.create_listings($1, array[
      row(gen_random_uuid(), 'A car', 'auto', 1, 'EUR', null, null, null, null)::app_public.new_listing,
      row('${KEY}', 'A car', 'auto', 1, 'EUR', null, null, null, null)::app_public.new_listing])`,
    changed: ['dealer_subscriptions', 'listings', 'listing_consumptions'],
  },
  approve_listing: {
    call: `select app_private.approve_listing(l, ${NOW}) from app_public.listings as l where l.dealer_id = $1 and l.status = 'pending'`,
    changed: ['listings'],
  },
  charge_listing: {
    call: `select app_private.charge_listing(l, 'renewal', gen_random_uuid(), ${NOW}) from app_public.listings as l where l.dealer_id = $1 and l.status = 'active'`,
    changed: ['dealer_subscriptions', 'listing_consumptions'],
  },
  reverse_consumption: {
    call: `select app_private.reverse_consumption(l, ${NOW}) from app_public.listings as l where l.dealer_id = $1 and l.moderation_reason = 'resubmitted'`,
    changed: ['invoices', 'invoice_items', 'listing_consumptions'],
  },
  reject_listing: {
    call: `select app_private.reject_listing(l, 'A test.', ${NOW}) from app_public.listings as l where l.dealer_id = $1 and l.status = 'active'`,
    changed: ['listings'],
  },
  record_consumption: {
    call: `select app_private.record_consumption(charge.d, l.id, 'publication', l.created_by) ${CHARGES}
      join app_public.listings as l on l.dealer_id = $1 and l.title = charge.title`,
    changed: ['invoices', 'invoice_items', 'dealer_subscriptions', 'listing_consumptions'],
    prepare: copyListings(1),
  },
  record_publications: {
    call: `select app_private.record_publications(charge.d, array_agg(l.id), (array_agg(l.created_by))[1]) ${CHARGES}
      join app_public.listings as l on l.dealer_id = $1 and l.title = charge.title group by charge.d`,
    changed: ['invoices', 'invoice_items', 'dealer_subscriptions', 'listing_consumptions'],
    prepare: copyListings(2),
  },
}

/** Calls of a stranger, who has the ids of the dealer in the table `ids`, and the SQLSTATE of the refusal. */
export const STRANGE: [string, string][] = [
  ['FC003', "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"],
  [
    'FC003',
    "select app_public.create_listings($1, array[row(gen_random_uuid(), 'A car', 'auto', 1, 'EUR', null, null, null, null)::app_public.new_listing])",
  ],
  [
    'FC003',
    'select app_public.buy_package($1, (select min(id::text)::uuid from app_public.dealer_packages), gen_random_uuid())',
  ],
  ['FC003', 'select app_public.quote_listing($1)'],
  [
    'FC003',
    'select app_public.quote_package($1, (select min(id::text)::uuid from app_public.dealer_packages))',
  ],
  ['FC003', "select app_public.cancel_subscription((select id from ids where name = 'subscription'))"],
  ['FC003', "select app_public.cancel_checkout((select id from ids where name = 'invoice'))"],
  ['FC003', "select app_public.update_listing((select id from ids where name = 'listing'), title => 'Mine')"],
  ['FC003', "select app_public.withdraw_listing((select id from ids where name = 'listing'))"],
  ['FC003', "select app_public.mark_listing_sold((select id from ids where name = 'listing'))"],
  [
    'FC003',
    "select app_public.renew_listing((select id from ids where name = 'listing'), gen_random_uuid())",
  ],
  [
    'FC003',
    "select app_public.resubmit_listing((select id from ids where name = 'listing'), gen_random_uuid())",
  ],
  [
    'FC003',
    "select app_public.promote_listing((select id from ids where name = 'listing'), 'highlight', gen_random_uuid())",
  ],
  ['FC003', "select app_public.quote_promotion((select id from ids where name = 'listing'), 'highlight')"],
  ['FC003', "select app_public.invite_member($1, 'a@example.com', 'staff', sha256('a'), 'a')"],
  ['FC003', "select app_public.revoke_invitation((select id from ids where name = 'invitation'))"],
  ['FC003', "select app_public.create_api_key($1, 'Mine', null, 'bbbbbbbbbbbb', sha256('b'))"],
  ['FC003', "select app_public.revoke_api_key((select id from ids where name = 'key'))"],
  ['FC003', 'select app_public.remove_member($1, app_public.current_user_id())'],
  ['FC003', "select app_public.set_member_role($1, app_public.current_user_id(), 'owner')"],
  ['FC003', "select app_public.update_dealer($1, 'Mine')"],
  ['42501', "select app_public.moderate_listing((select id from ids where name = 'listing'), 'approve')"],
  ['42501', "select app_public.pay_invoice((select id from ids where name = 'invoice'))"],
]
