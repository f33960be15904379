/** The books: what is true after every transaction, whatever ran at once. */
import type pg from 'pg'

const BROKEN = `
  select 'used quota is not the number of ledger rows' as rule, s.dealer_id, s.id
  from app_public.dealer_subscriptions as s
  where s.used_listing_quota <> (
    select count(*) from app_public.listing_consumptions as lc
    where lc.dealer_id = s.dealer_id and lc.subscription_id = s.id and lc.source = 'subscription_quota')
  union all
  select 'a paid listing has no invoice item of the same amounts', lc.dealer_id, lc.listing_id
  from app_public.listing_consumptions as lc
  where lc.source = 'paid_extra' and 1 <> (
    select count(*)
    from app_public.invoice_items as it
    join app_public.invoices as i on i.dealer_id = it.dealer_id and i.id = it.invoice_id and i.kind = 'monthly'
    where it.dealer_id = lc.dealer_id and it.id = lc.invoice_item_id
      and (it.net_amount, it.vat_rate, it.vat_amount, it.gross_amount, it.currency, it.price_config_id)
        = (lc.net_amount, lc.vat_rate, lc.vat_amount, lc.gross_amount, lc.currency, lc.price_config_id))
  union all
  select 'an item of a monthly invoice is of no listing, or of several', it.dealer_id, it.id
  from app_public.invoice_items as it
  join app_public.invoices as i on i.dealer_id = it.dealer_id and i.id = it.invoice_id and i.kind = 'monthly'
  where 1 <> (
    select count(*) from app_public.listing_consumptions as lc
    where lc.dealer_id = it.dealer_id and lc.invoice_item_id = it.id)
  union all
  select 'a listing past draft has not exactly one ledger row', l.dealer_id, l.id
  from app_public.listings as l
  where l.status <> 'draft' and 1 <> (
    select count(*) from app_public.listing_consumptions as lc
    where lc.dealer_id = l.dealer_id and lc.listing_id = l.id)
  union all
  select 'totals of an invoice are not the sums of its items', i.dealer_id, i.id
  from app_public.invoices as i
  where (i.net_total, i.vat_total, i.gross_total) is distinct from (
    select (coalesce(sum(it.net_amount), 0), coalesce(sum(it.vat_amount), 0), coalesce(sum(it.gross_amount), 0))
    from app_public.invoice_items as it
    where it.dealer_id = i.dealer_id and it.invoice_id = i.id)
  union all
  select 'an item is in another currency than its invoice', it.dealer_id, it.id
  from app_public.invoice_items as it
  join app_public.invoices as i on i.dealer_id = it.dealer_id and i.id = it.invoice_id
  where it.currency <> i.currency or it.country <> i.country
  union all
  select 'a paid package has not exactly one subscription', i.dealer_id, i.id
  from app_public.invoices as i
  where i.kind = 'package' and (case i.status when 'paid' then 1 else 0 end) <> (
    select count(*) from app_public.dealer_subscriptions as s
    where s.dealer_id = i.dealer_id and s.invoice_id = i.id)`

export type BrokenRule = { rule: string; dealer_id: string; id: string }

/** Every row that breaks the books; none when all is well. For the owner or a superuser. */
export async function brokenRules(db: Pick<pg.ClientBase, 'query'>): Promise<BrokenRule[]> {
  const { rows } = await db.query<BrokenRule>(BROKEN)
  return rows
}
