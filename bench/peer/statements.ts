/** The statements of the application tier, each prepared once per connection. */

export type Statement = { name: string; text: string }

const texts = {
  member: 'select 1 as one from app_public.dealer_users where dealer_id = $1 and user_id = $2',
  lockDealer:
    'select country, is_active, can_publish from app_public.dealers where id = $1 for no key update',
  byIdempotencyKey: `
    select l.id, l.status, l.title, l.payload_hash, c.source, c.net_amount, c.vat_rate, c.gross_amount, c.currency as paid_in
    from app_public.listings as l
    join app_public.listing_consumptions as c on c.dealer_id = l.dealer_id and c.listing_id = l.id and c.kind = 'publication'
    where l.dealer_id = $1 and l.idempotency_key = $2`,
  // a cancelled subscription keeps its quota until its end; the subscription that ends first is used first
  lockSubscriptions: `
    select id, start_at, end_at, overage, included_listing_quota, used_listing_quota
    from app_public.dealer_subscriptions
    where dealer_id = $1 and status in ('active', 'cancelled') and end_at > now()
    order by end_at, id
    for update`,
  currency: `
    select c.code, c.minor_units from app_public.country_currencies as cc
    join app_public.currencies as c on c.code = cc.currency where cc.country = $1`,
  vatRate: 'select rate from app_public.vat_rates where country = $1 and valid @> $2::timestamptz',
  freeQuota: `
    select quota_amount, period_days from app_public.free_quota_configs
    where country = $1 and segment = 'dealer' and valid @> $2::timestamptz`,
  freeUsed: `
    select count(*) from app_public.listing_consumptions
    where dealer_id = $1 and source = 'free_quota'
      and created_at > $2::timestamptz - $3::integer * interval '24 hours'`,
  price: `
    select id, price_version, unit_price_net from app_public.price_configs
    where country = $1 and segment = 'dealer' and pricing_type = 'pay_per_listing' and valid @> $2::timestamptz`,
  useSubscription: `
    update app_public.dealer_subscriptions set used_listing_quota = used_listing_quota + 1, updated_at = $3
    where dealer_id = $1 and id = $2`,
  addToInvoice: `
    insert into app_public.invoices as i
      (dealer_id, kind, country, currency, period_start, net_total, vat_total, gross_total, updated_at)
    values ($1, 'monthly', $2, $3, $4, $5, $6, $7, $8)
    on conflict (dealer_id, period_start, country, currency) where kind = 'monthly' and status = 'draft' do update set
      net_total = i.net_total + excluded.net_total, vat_total = i.vat_total + excluded.vat_total,
      gross_total = i.gross_total + excluded.gross_total, updated_at = excluded.updated_at
    returning id`,
  insertInvoiceItem: `
    insert into app_public.invoice_items
      (dealer_id, invoice_id, description, price_config_id, price_version, unit_price_net,
       net_amount, vat_rate, vat_amount, gross_amount, country, currency, created_at)
    values ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9, $10, $11, $12)
    returning id`,
  insertListing: `
    insert into app_public.listings
      (dealer_id, country, title, module, price, currency, idempotency_key, payload_hash, created_by, created_at, updated_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
    returning id, status, title`,
  insertConsumption: `
    insert into app_public.listing_consumptions
      (dealer_id, listing_id, kind, source, subscription_id, price_config_id, invoice_item_id,
       net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, created_at)
    values ($1, $2, 'publication', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
} as const

export const statements = Object.fromEntries(
  Object.entries(texts).map(([name, text]) => [name, { name, text }]),
) as Record<keyof typeof texts, Statement>
