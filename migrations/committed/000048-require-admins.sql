--! Previous: sha1:2f68f888285b351be2c336dc54d5ee87b36b32d4
--! Hash: sha1:b867d72d5ee410d3b5460cbf6324431e940e0537
--! Message: require admins

set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included billing/pay_invoice.sql
create or replace function app_public.pay_invoice(invoice_id uuid) returns app_public.invoices
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_dealer_id uuid;
begin
  perform app_private.require_admin();
  select i.dealer_id into v_dealer_id from app_public.invoices as i where i.id = pay_invoice.invoice_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no invoice with this id. Please check it.',
      detail = jsonb_build_object('field', 'invoiceId')::text;
  end if;
  return app_private.settle_invoice(v_dealer_id, pay_invoice.invoice_id);
end
$$;

comment on function app_public.pay_invoice(uuid) is E'@behavior +mutationField\n@resultFieldName invoice\nFor admins: marks an invoice as paid that was paid outside of Forecourt, and starts or queues its subscription. A second call changes nothing.';

grant execute on function app_public.pay_invoice(uuid) to forecourt_admin;
--! EndIncluded billing/pay_invoice.sql
--! Included moderation/moderate_listing.sql
create or replace function app_public.moderate_listing(
  listing_id uuid, decision app_public.moderation_decision, reason text default null, updated_at timestamptz default null
) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_reason constant text := nullif(app_private.to_nfc(btrim(replace(reason, E'\r\n', E'\n'))), '');
  v_listing app_public.listings;
begin
  perform app_private.require_admin();
  if moderate_listing.decision = 'reject' and v_reason is null then
    raise exception using
      errcode = 'FC010',
      message = 'Please say why the listing is rejected. The dealer reads the reason.',
      detail = jsonb_build_object('field', 'reason')::text;
  end if;
  v_listing := app_private.lock_listing(moderate_listing.listing_id, by_member => false);
  if moderate_listing.decision = 'approve' and v_listing.status = 'active' and v_listing.moderation_since is null
    or moderate_listing.decision = 'reject' and v_listing.status = 'rejected'
  then
    return v_listing;
  elsif v_listing.status not in ('pending', 'active') then
    perform app_private.refuse_listing_status(v_listing.status, 'Only a pending or active listing can be reviewed.');
  elsif v_listing.updated_at <> moderate_listing.updated_at then
    perform app_private.refuse_listing_status(v_listing.status, 'It has changed since you read it. Please read it again.');
  elsif moderate_listing.decision = 'approve' then
    return app_private.approve_listing(v_listing, clock_timestamp());
  end if;
  return app_private.reject_listing(v_listing, v_reason, clock_timestamp());
end
$$;

comment on function app_public.moderate_listing(uuid, app_public.moderation_decision, text, timestamptz) is E'@behavior +mutationField\n@resultFieldName listing\nFor admins: approves or rejects a pending or active listing, and takes it out of the moderation queue. REJECT needs a `reason`, which the dealer reads. With `updatedAt`, a listing that has changed since then is refused (409). The same decision again changes nothing.';

grant execute on function app_public.moderate_listing(uuid, app_public.moderation_decision, text, timestamptz) to forecourt_admin;
--! EndIncluded moderation/moderate_listing.sql
