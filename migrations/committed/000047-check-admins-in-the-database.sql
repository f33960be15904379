--! Previous: sha1:1239559878702c3ca4ac074cda645796cabe10e8
--! Hash: sha1:2f68f888285b351be2c336dc54d5ee87b36b32d4
--! Message: check admins in the database

--! no-transaction
-- Each table is locked in a transaction of its own, for a moment. The subquery is run once for each statement, and not for each row.
-- squawk-ignore require-lock-timeout, require-statement-timeout
do $$
declare
  v_table regclass;
begin
  foreach v_table in array array[
    'app_public.audit_logs', 'app_public.checkouts', 'app_public.dealer_packages', 'app_public.dealer_subscriptions',
    'app_public.dealer_users', 'app_public.dealers', 'app_public.invoice_items', 'app_public.invoices',
    'app_public.listing_consumptions', 'app_public.listing_promotions', 'app_public.listings', 'app_public.rate_limit_policies',
    'app_public.users']::regclass[]
  loop
    perform app_private.lock_tables(v_table);
    execute format('alter policy select_admin on %s using ((select app_public.is_admin()))', v_table);
    commit;
  end loop;
end
$$;
