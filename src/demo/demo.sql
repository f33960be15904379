-- Demo data. The functions that serve clients make it, so that every invariant holds.
-- Runs once, in one transaction; `forecourt.demo_password_hash` holds the hash of the demo password.
do $$
declare
  v_hash constant text := current_setting('forecourt.demo_password_hash');
  v_since constant timestamptz := date_trunc('year', now()) - interval '1 year';
  v_admin_id uuid;
  v_user_id uuid;
  v_country record;
  v_demo record;
  v_dealer_id uuid;
  v_checkout app_public.checkouts;
begin
  select r.user_id into v_admin_id from app_public.register_user('admin@example.com', 'Demo Admin', v_hash) as r;
  update app_public.users as u set is_admin = true, email_verified_at = now() where u.id = v_admin_id;
  select r.user_id into v_user_id from app_public.register_user('dealer@example.com', 'Demo Dealer', v_hash) as r;
  -- the demo needs a dealer in each country
  update app_public.users as u set dealer_limit = 10, email_verified_at = now() where u.id = v_user_id;
  perform set_config('forecourt.user_id', v_user_id::text, true);

  insert into app_public.currencies (code, minor_units) values ('EUR', 2), ('CHF', 2);
  -- Italy has no VAT rate and Spain has no price, to show the 409 for missing configuration
  for v_country in
    select * from (values
      ('DE', 'EUR', 19.00, 5.00, 2), ('AT', 'EUR', 20.00, 5.00, 0), ('FR', 'EUR', 20.00, 5.00, 0),
      ('CH', 'CHF', 8.10, 5.00, 0), ('IT', 'EUR', null, 5.00, 0), ('ES', 'EUR', 21.00, null, 0)
    ) as c (country, currency, vat_rate, price, free_listings)
  loop
    insert into app_public.country_currencies (country, currency) values (v_country.country, v_country.currency);
    if v_country.vat_rate is not null then
      insert into app_public.vat_rates (country, rate, valid)
      values (v_country.country, v_country.vat_rate, tstzrange(v_since, null));
    end if;
    if v_country.price is not null then
      perform app_private.set_price(v_country.country, 'dealer', 'pay_per_listing', v_country.price, v_since);
      perform app_private.set_price(v_country.country, 'dealer', 'premium_fee', 9.00, v_since, 14);
      perform app_private.set_price(v_country.country, 'dealer', 'highlight_fee', 3.00, v_since, 7);
    end if;
    if v_country.free_listings > 0 then
      insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
      values (v_country.country, 'dealer', v_country.free_listings, 30, tstzrange(v_since, null));
    end if;
  end loop;
  update app_public.country_currencies as cc set moderation = 'after' where cc.country = 'CH';

  insert into app_public.dealer_packages (key, country, name, price_net, currency, duration_days, listing_limit, quota_kind, premium_quota)
  select p.key, cc.country, p.name, p.price_net, cc.currency, 30, p.listing_limit, p.quota_kind::app_public.quota_kind, p.premium_quota
  from app_public.country_currencies as cc
  cross join (values
    ('basic', '{"en": "Basic", "de": "Basis", "fr": "Essentiel"}'::jsonb, 49.00, 10, 'per_period', 0),
    ('pro', '{"en": "Pro", "de": "Profi", "fr": "Pro"}', 149.00, 50, 'per_period', 5),
    ('enterprise', '{"en": "Enterprise", "de": "Unternehmen", "fr": "Entreprise"}', 499.00, 500, 'per_period', 25),
    -- at most 20 listings at once, however often they change
    ('showroom', '{"en": "Showroom", "de": "Ausstellung", "fr": "Exposition"}', 99.00, 20, 'concurrent', 0)
  ) as p (key, name, price_net, listing_limit, quota_kind, premium_quota)
  where cc.country in ('DE', 'AT', 'FR', 'CH');

  -- subscriptions: active, nearly used up, expired, none, with slots; then the two countries with missing configuration
  for v_demo in
    select * from (values
      ('Autohaus Berlin', 'DE', 'pro', 10, false), ('Autohaus Wien', 'AT', 'basic', 9, false),
      ('Garage Lyon', 'FR', 'basic', 3, true), ('Garage Zürich', 'CH', null, 1, false),
      ('Autohaus Hamburg', 'DE', 'showroom', 6, false),
      ('Autosalone Milano', 'IT', null, 0, false), ('Coches Madrid', 'ES', null, 0, false)
    ) as d (company_name, country, package_key, listings, has_expired)
  loop
    select d.id into v_dealer_id from app_public.create_dealer(v_demo.company_name, v_demo.country, 'auto_dealer') as d;
    if v_demo.package_key is not null then
      select c.* into v_checkout
      from app_public.dealer_packages as p
      cross join lateral app_public.buy_package(v_dealer_id, p.id, gen_random_uuid()) as c
      where p.country = v_demo.country and p.key = v_demo.package_key;
      perform app_private.settle_invoice(v_dealer_id, v_checkout.invoice_id);
    end if;
    for v_number in 1..v_demo.listings loop
      perform app_public.create_listing(
        v_dealer_id, gen_random_uuid(), format('Demo car %s of %s', v_number, v_demo.company_name), 'auto', 9900 + 100 * v_number,
        (select cc.currency from app_public.country_currencies as cc where cc.country = v_demo.country));
    end loop;
    if v_demo.has_expired then
      update app_public.dealer_subscriptions as s set start_at = now() - interval '31 days', end_at = now() - interval '1 day'
      where s.dealer_id = v_dealer_id;
    end if;
  end loop;
end
$$;

-- The listings of Autohaus Berlin have every status, one ends tomorrow, one is premium, and the moderation queue has every reason.
do $$
declare
  v_cars constant uuid[] := array(
    select l.id
    from app_public.listings as l
    join app_public.dealers as d on d.id = l.dealer_id
    where d.company_name = 'Autohaus Berlin'
    order by l.price);
begin
  perform set_config('forecourt.user_id', (select u.id::text from app_public.users as u where u.email = 'admin@example.com'), true);
  perform app_public.moderate_listing(v_cars[2], 'reject', 'The pictures show another car.');
  perform app_public.moderate_listing(v_cars[3], 'reject', 'Please add the mileage.');
  -- the first car of each dealer waits for its review
  perform app_public.moderate_listing(l.id, 'approve')
  from app_public.listings as l
  where l.status = 'pending' and l.title not like 'Demo car 1 %';

  perform set_config('forecourt.user_id', (select u.id::text from app_public.users as u where u.email = 'dealer@example.com'), true);
  perform app_public.update_listing(v_cars[3], description => 'Mileage: 48,000 km');
  perform app_public.resubmit_listing(v_cars[3], gen_random_uuid());
  perform app_public.update_listing(v_cars[4], description => 'With winter tyres');
  perform app_public.withdraw_listing(v_cars[5]);
  perform app_public.mark_listing_sold(v_cars[6]);
  perform app_public.promote_listing(v_cars[9], 'premium', gen_random_uuid());

  -- only time ends a listing, so these two were published earlier
  update app_public.listings as l
  set created_at = l.created_at - past.age, published_at = l.published_at - past.age, expires_at = l.expires_at - past.age
  from (values (v_cars[7], interval '89 days'), (v_cars[8], interval '91 days')) as past (id, age)
  where l.id = past.id;
  perform set_config('forecourt.user_id', '', true);
  perform app_private.expire_subscriptions();
  perform app_private.expire_listings();
end
$$;
