--! Previous: sha1:c10700b05ce15b3c27555fa1062f53aad2a619b1
--! Hash: sha1:cb630142e2540a84bbe48f21fa607f5836a527aa
--! Message: pricing gaps, row security

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included operations/pricing_gaps.sql
create or replace view app_public.pricing_gaps with (security_invoker = true) as
with horizon as (
  select now() as starts_at, now() + interval '2160 hours' as ends_at
), countries as (
  select d.country from app_public.dealers as d where d.is_active
  union
  select p.country from app_public.dealer_packages as p where p.is_active
), covered as (
  select c.country, 'currency' as missing,
    (select range_agg(tstzrange(null, null)) from app_public.country_currencies as cc where cc.country = c.country) as times
  from countries as c
  union all
  select c.country, 'vat_rate',
    (select range_agg(v.valid) from app_public.vat_rates as v where v.country = c.country)
  from countries as c
  union all
  select c.country, 'price',
    (select range_agg(p.valid) from app_public.price_configs as p
     where p.country = c.country and p.segment = 'dealer' and p.pricing_type = 'pay_per_listing')
  from countries as c
  union all
  select c.country, 'package',
    (select range_agg(tstzrange(null, null)) from app_public.dealer_packages as p where p.country = c.country and p.is_active)
  from countries as c
), gaps as (
  select co.country, co.missing, co.times,
    unnest(tstzmultirange(tstzrange(h.starts_at, h.ends_at)) - coalesce(co.times, '{}')) as gap
  from covered as co cross join horizon as h
)
select
  g.country,
  g.missing,
  lower(g.gap) as starts_at,
  nullif(upper(g.gap), h.ends_at) as ends_at,
  case when lower(g.gap) = h.starts_at
    then (select max(upper(r)) from unnest(g.times) as r where upper(r) <= h.starts_at)
    else lower(g.gap)
  end as since
from gaps as g cross join horizon as h;

comment on view app_public.pricing_gaps is
  E'@behavior +query:resource:connection\nEvery country with dealers or packages, and each span of the next 90 days in which its currency, VAT rate, listing price or package is missing: the 409 before a customer meets it. For admins.';
comment on column app_public.pricing_gaps.country is E'@notNull\nISO 3166-1 alpha-2.';
comment on column app_public.pricing_gaps.missing is E'@notNull\ncurrency, vat_rate, price or package.';
comment on column app_public.pricing_gaps.starts_at is E'@notNull\nWhere the gap begins within the next 90 days.';
comment on column app_public.pricing_gaps.ends_at is 'Where it ends; null: not within the next 90 days.';
comment on column app_public.pricing_gaps.since is 'Since when it is missing; null: it never was there.';

grant select on app_public.pricing_gaps to forecourt_admin;
--! EndIncluded operations/pricing_gaps.sql
--! Included operations/applied_migrations.sql
create or replace function app_public.applied_migrations() returns text[]
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return array(select m.hash from graphile_migrate.migrations as m order by m.filename);
end
$$;

comment on function app_public.applied_migrations() is
  'Hashes of the migrations that this database has run. For the API''s readiness check alone, not for GraphQL.';

grant execute on function app_public.applied_migrations() to forecourt_authenticator;
--! EndIncluded operations/applied_migrations.sql

-- Forced, so that it holds for the owner as well: what the owner's functions may do is said here, not implied.
do $$
declare
  v_table regclass;
begin
  for v_table in
    select c.oid from pg_class as c
    where c.relnamespace in ('app_public'::regnamespace, 'app_private'::regnamespace) and c.relkind in ('r', 'p')
  loop
    execute format('alter table %s enable row level security', v_table);
    execute format('alter table %s force row level security', v_table);
    execute format('drop policy if exists all_owner on %s', v_table);
    execute format('create policy all_owner on %s to current_user using (true) with check (true)', v_table);
  end loop;
end
$$;
