/** Violations of the rules in src/doctor/checks that every schema keeps, each in a form that a transaction can roll back. */
import type { Fault } from './faults.ts'

const api = 'forecourt_authenticator'
const vatRates = 'app_public.vat_rates'

/** Since Postgres 16 each membership has its own inherit option. */
const INHERITS = `do $$ begin
  if current_setting('server_version_num')::integer < 160000 then
    alter role ${api} inherit;
  else
    execute 'update pg_auth_members set inherit_option = true where member = ''${api}''::regrole';
  end if;
end $$`

export const ruleFaults: Fault[] = [
  [
    'a login that does not own the schema',
    'alter schema app_private owner to postgres',
    'FAIL',
    /does not own app_private/,
  ],
  [
    'an owner that bypasses row security',
    'alter role forecourt_test_owner bypassrls',
    'WARN',
    /owner has bypassrls/,
  ],
  [
    'an owner that creates databases',
    'alter role forecourt_test_owner createdb',
    'WARN',
    /owner has createdb/,
  ],
  [
    'an API login that may grant a role to others',
    `grant forecourt_admin to ${api} with admin option`,
    'FAIL',
    /authenticator may grant forecourt_admin to others/,
  ],
  [
    'an API login whose password has expired',
    `alter role ${api} valid until '2001-01-01'`,
    'FAIL',
    /password of forecourt_authenticator expired at 2001/,
  ],
  [
    'another login that may become an API role',
    'create role stranger login; grant forecourt_admin to stranger',
    'note',
    /^stranger is a member of forecourt_admin$/,
  ],
  [
    'another login that may become the owner',
    'create role stranger login; grant forecourt_test_owner to stranger',
    'note',
    /^stranger is a member of forecourt_test_owner$/,
  ],
  [
    'a partition of the audit trail that may be changed',
    `do $$ begin execute format('drop trigger audit_logs_append_only on %s', to_char(now() at time zone 'UTC', '"app_private.audit_logs_"YYYY_MM')); end $$`,
    'FAIL',
    /^the partition app_private\.audit_logs_\d{4}_\d\d lacks the trigger audit_logs_append_only$/,
  ],
  [
    'a partition of the audit trail with a trigger of its own',
    `create trigger quiet before insert on app_private.audit_logs_default
       for each row execute function app_private.refuse_change()`,
    'FAIL',
    /^the partition app_private\.audit_logs_default has the trigger quiet of its own$/,
  ],
  [
    'an audit trail without a default partition',
    'drop table app_private.audit_logs_default',
    'FAIL',
    /audit_logs has no default partition/,
  ],
  ['a missing role', 'alter role forecourt_visitor rename to nobody', 'FAIL', /forecourt_visitor is missing/],
  ['a login that inherits', `alter role ${api} inherit`, 'FAIL', /authenticator has inherit/],
  [
    'an API role that is superuser',
    'alter role forecourt_admin superuser',
    'FAIL',
    /forecourt_admin has superuser/,
  ],
  [
    'an API role that bypasses row security',
    `alter role ${api} bypassrls`,
    'FAIL',
    /authenticator has bypassrls/,
  ],
  ['an API role that creates roles', `alter role ${api} createrole`, 'FAIL', /authenticator has createrole/],
  ['an API role that logs in', 'alter role forecourt_admin login', 'FAIL', /forecourt_admin has login/],
  ['an API login that cannot log in', `alter role ${api} nologin`, 'FAIL', /may not log in/],
  ['an additional membership', `grant pg_monitor to ${api}`, 'FAIL', /is a member of pg_monitor/],
  ['a membership that inherits', INHERITS, 'FAIL', /inherits the rights of forecourt_admin/],
  [
    'a missing membership',
    `delete from pg_auth_members where roleid = 'forecourt_admin'::regrole and member = '${api}'::regrole`,
    'FAIL',
    /may not become forecourt_admin/,
  ],
  [
    'an API role that owns a view',
    `alter view app_public.pricing_gaps owner to ${api}`,
    'FAIL',
    /authenticator owns view/,
  ],
  [
    'an API role that may create objects',
    'grant create on schema public to public',
    'FAIL',
    /may create in the schema public/,
  ],
  [
    'an API role that may use a private schema',
    `grant usage on schema app_private to ${api}`,
    'FAIL',
    /may use the schema app_private/,
  ],
  [
    'an API role with a right to a private table',
    `grant references (id) on app_private.alerts to forecourt_admin`,
    'FAIL',
    /forecourt_admin has a right to app_private\.alerts/,
  ],
  [
    'an API role that may execute a private function',
    'grant execute on function app_private.maintain_audit_logs() to forecourt_dealer',
    'FAIL',
    /forecourt_dealer may execute app_private\.maintain_audit_logs\(\)/,
  ],
  [
    'an API role that reads past the policies of a partitioned table',
    `create table app_public.p partition of app_public.audit_logs for values from ('2041-01-01') to ('2041-02-01');
     grant select on app_public.p to forecourt_admin`,
    'FAIL',
    /forecourt_admin may read the partition app_public\.p/,
  ],
  [
    'an API login that reads as itself',
    `grant select (email) on app_public.users to ${api}`,
    'FAIL',
    /authenticator may read app_public\.users as itself/,
  ],
  [
    'an API role that writes',
    `grant update (rate) on ${vatRates} to forecourt_admin`,
    'FAIL',
    /forecourt_admin may write to app_public\.vat_rates/,
  ],
  [
    'a table without row security',
    `alter table ${vatRates} disable row level security`,
    'FAIL',
    /vat_rates: not enabled/,
  ],
  [
    'a table whose owner bypasses row security',
    `alter table ${vatRates} no force row level security`,
    'FAIL',
    /vat_rates: not forced/,
  ],
  [
    'a view that reads as its owner',
    'alter view app_public.pricing_gaps reset (security_invoker)',
    'FAIL',
    /pricing_gaps: reads as its owner/,
  ],
  [
    'a materialized view, which reads as its owner',
    'create materialized view app_public.m as select 1 as one',
    'FAIL',
    /app_public\.m: reads as its owner/,
  ],
  [
    'a search path with a schema that others may write to',
    'alter function app_private.price_item set search_path to pg_catalog, public, pg_temp',
    'FAIL',
    /price_item\(.*no safe search path/,
  ],
  [
    'a function without a search path',
    'alter function app_private.price_item reset search_path',
    'FAIL',
    /price_item\(.*no safe search path/,
  ],
  [
    'a function that public may execute',
    'grant execute on function app_private.refuse_change to public',
    'FAIL',
    /anyone may execute/,
  ],
  [
    'a constraint that was never validated',
    `alter table ${vatRates} add constraint later check (rate > 0) not valid`,
    'WARN',
    /later on .*vat_rates/,
  ],
  [
    'a trigger that is off',
    'alter table app_public.price_configs disable trigger user',
    'FAIL',
    /trigger price_configs\w+ on .* is off/,
  ],
  [
    'foreign keys that a superuser has switched off',
    'alter table app_public.listings disable trigger all',
    'FAIL',
    /^the foreign keys from or to app_public\.listings are not enforced$/,
  ],
  [
    'an index whose build was interrupted',
    "update pg_index set indisvalid = false where indexrelid = 'app_public.ix_dealer_users_user_id'::regclass",
    'FAIL',
    /ix_dealer_users_user_id is invalid/,
  ],
  [
    'a foreign key without an index',
    'create table app_public.t (dealer_id uuid references app_public.dealers)',
    'WARN',
    /t_dealer_id_fkey/,
  ],
  [
    'a large index that no query uses',
    'create table app_public.t as select generate_series(1, 600000) as n; create index ix_t on app_public.t (n)',
    'WARN',
    /ix_t \(\d+ MB\) was not used since/,
  ],
  [
    'a partition of the audit trail with a policy of its own',
    'create policy select_all on app_private.audit_logs_default for select using (true)',
    'FAIL',
    /^the partition app_private\.audit_logs_default has the policy select_all of its own$/,
  ],
  [
    'a partition of the audit trail with a constraint of its own',
    'alter table app_private.audit_logs_default add constraint few check (length(action) < 9)',
    'WARN',
    /^the partition app_private\.audit_logs_default has the constraint few of its own$/,
  ],
  [
    'an event trigger',
    `create function app_private.e() returns event_trigger language plpgsql as 'begin end';
     create event trigger watch on ddl_command_end execute function app_private.e()`,
    'note',
    /^the event trigger watch of \w+ runs at ddl_command_end$/,
  ],
  [
    'rights of the API to what another role will make',
    'create role stranger; alter default privileges for role stranger in schema app_public grant select on tables to forecourt_visitor',
    'WARN',
    /^forecourt_visitor gets select on the tables that stranger makes in schema app_public$/,
  ],
]
