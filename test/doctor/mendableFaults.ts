/** Differences from schema.sql whose remedy is SQL, each in a form that a transaction can roll back. */
import type { SchemaFault } from './schemaFaults.ts'

const subscriptions = 'app_public.dealer_subscriptions'
const prices = 'app_public.price_configs'
const vatRates = 'app_public.vat_rates'

/** The remedy of each is SQL that restores the schema of this build. */
export const mendable: SchemaFault[] = [
  [
    'a missing index on status and end of subscriptions',
    'drop index app_public.ix_dealer_subscriptions_status_end_at',
    'FAIL',
    /^the index ix_dealer_subscriptions_status_end_at on app_public\.dealer_subscriptions is missing$/,
  ],
  [
    'an index of a partitioned table that is missing',
    `do $$ declare v_index regclass; begin
       select i.indexrelid::regclass into strict v_index from pg_index as i
       where i.indrelid = 'app_public.audit_logs'::regclass and not i.indisprimary limit 1;
       execute format('drop index %s', v_index);
     end $$`,
    'FAIL',
    /^the index \w+ on app_public\.audit_logs is missing$/,
  ],
  [
    'an exclusion constraint that is missing',
    `alter table ${prices} drop constraint price_configs_one_at_a_time`,
    'FAIL',
    /^the constraint price_configs_one_at_a_time on app_public\.price_configs is missing$/,
  ],
  [
    'a check constraint that is missing',
    'alter table app_public.free_quota_configs drop constraint free_quota_configs_period_days_range',
    'FAIL',
    /^the constraint free_quota_configs_period_days_range on .* is missing$/,
  ],
  [
    'a foreign key that refers to another column list',
    `alter table ${prices} drop constraint price_configs_currency_of_country;
     alter table ${prices} add constraint price_configs_currency_of_country
       foreign key (currency) references app_public.currencies`,
    'FAIL',
    /^the constraint price_configs_currency_of_country on .* is "FOREIGN KEY \(currency\)/,
  ],
  [
    'an additional constraint',
    `alter table ${vatRates} add constraint vat_rates_low check (rate < 100)`,
    'WARN',
    /^the constraint vat_rates_low on app_public\.vat_rates is in the database alone$/,
  ],
  [
    'a trigger that is missing',
    `drop trigger price_configs_never_edited on ${prices}`,
    'FAIL',
    /^the trigger price_configs_never_edited on app_public\.price_configs is missing$/,
  ],
  [
    'a trigger for fewer events',
    `drop trigger price_configs_never_edited on ${prices};
     create trigger price_configs_never_edited before delete on ${prices}
       for each row execute function app_private.enforce_price_versions()`,
    'FAIL',
    /^the trigger price_configs_never_edited on app_public\.price_configs has another definition$/,
  ],
  [
    'an additional trigger',
    `create trigger quiet before insert on ${prices} for each row execute function app_private.refuse_change()`,
    'FAIL',
    /^the trigger quiet on app_public\.price_configs is in the database alone$/,
  ],
  [
    'an additional rule',
    `create rule quiet as on insert to ${vatRates} do instead nothing`,
    'FAIL',
    /^the rule quiet on app_public\.vat_rates is in the database alone$/,
  ],
  [
    'an additional policy',
    `create policy select_everything on ${subscriptions} for select to forecourt_dealer using (true)`,
    'FAIL',
    /^the policy select_everything on app_public\.dealer_subscriptions is in the database alone$/,
  ],
  [
    'a policy that is missing',
    `drop policy select_member on ${subscriptions}`,
    'FAIL',
    /^the policy select_member on app_public\.dealer_subscriptions is missing$/,
  ],
  [
    'a policy of the owner that is missing',
    `drop policy all_owner on ${vatRates}`,
    'FAIL',
    /^the policy all_owner on app_public\.vat_rates is missing$/,
  ],
  [
    'a policy for another role',
    `alter policy select_member on ${subscriptions} to public`,
    'FAIL',
    /^the policy select_member on app_public\.dealer_subscriptions has another definition$/,
  ],
  [
    'another body of a function',
    `create or replace function app_public.current_dealer_ids() returns uuid[]
       language sql stable security definer set search_path to pg_catalog, app_public, app_private, pg_temp
       as 'select array(select d.id from app_public.dealers as d)'`,
    'FAIL',
    /^the function app_public\.current_dealer_ids\(\) has /,
  ],
  [
    'a function that runs as its owner',
    'alter function app_private.refuse_change() security definer',
    'FAIL',
    /^the function app_private\.refuse_change\(\) has other attributes$/,
  ],
  [
    'a function with another search path',
    'alter function app_private.refuse_change() set search_path to pg_catalog, pg_temp',
    'FAIL',
    /^the function app_private\.refuse_change\(\) has other attributes$/,
  ],
  [
    'a function that is missing',
    'drop function app_public.quote_listing(uuid)',
    'FAIL',
    /^the function app_public\.quote_listing\(.*\) is missing$/,
  ],
  [
    'an additional grant to an API role',
    'grant select (is_admin) on app_public.users to forecourt_dealer',
    'FAIL',
    /^the grant select \(some columns\) on table app_public\.users to forecourt_dealer /,
  ],
  [
    'a new grant to an API role',
    'grant select on app_public.audit_logs to forecourt_visitor',
    'FAIL',
    /^the grant select on table app_public\.audit_logs to forecourt_visitor is in the database alone$/,
  ],
  [
    'a grant to public',
    'grant usage on schema app_private to public',
    'FAIL',
    /^the grant usage on schema app_private to public is in the database alone$/,
  ],
  [
    'a grant to a role of the DBA',
    `grant select on ${vatRates} to pg_monitor`,
    'note',
    /^the grant select on table app_public\.vat_rates to pg_monitor is in the database alone$/,
  ],
  [
    'a grant to a role whose name has a space',
    `create role "a DBA"; grant select on ${vatRates} to "a DBA" with grant option`,
    'note',
    /^the grant select on table app_public\.vat_rates to "a DBA" with grant option is in the database alone$/,
  ],
  [
    'a grant that is missing',
    'revoke execute on function app_public.quote_listing from forecourt_dealer',
    'FAIL',
    /^the grant execute on function app_public\.quote_listing\(uuid\) to forecourt_dealer is missing$/,
  ],
  [
    'other storage parameters',
    'alter table app_private.job_runs reset (fillfactor)',
    'WARN',
    /^the storage parameters of app_private\.job_runs are missing$/,
  ],
  [
    'an additional index',
    `create index ix_by_hand on ${vatRates} (rate)`,
    'note',
    /^the index ix_by_hand on app_public\.vat_rates is in the database alone$/,
  ],
  [
    'an additional unique index',
    `create unique index ux_by_hand on ${vatRates} (country, rate)`,
    'WARN',
    /^the index ux_by_hand on app_public\.vat_rates is in the database alone$/,
  ],
]
