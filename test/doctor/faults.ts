/** The faults that the doctor is there for, each as it can be planted in a transaction. */
import type { Finding } from '../../src/doctor/check.ts'

/** Stands before the view of that name, for what cannot be brought about in a test. */
function pretending(view: string, columns: string, from = `pg_catalog.${view}`): string {
  return `create temp view ${view} as select ${columns} from ${from}; grant select on pg_temp.${view} to public`
}

function setting(name: string, value: string): string {
  return pretending(
    'pg_settings',
    `name, case name when '${name}' then '${value}' else setting end as setting`,
  )
}

const api = 'forecourt_authenticator'
const vatRates = 'app_public.vat_rates'
const slot = (isUsed: boolean, status: string) =>
  pretending(
    'pg_replication_slots',
    `'standby' as slot_name, ${isUsed} as active, '${status}' as wal_status, pg_current_wal_lsn() as restart_lsn`,
    '(values (1)) as one',
  )
const session = (state: string, transaction: string, since: string) =>
  pretending(
    'pg_stat_activity',
    `current_database() as datname, 1 as pid, 'somebody' as usename, '' as application_name, 'client backend' as backend_type,
     '${state}' as state, '' as query, now() - interval '${transaction}' as xact_start, now() - interval '${since}' as state_change`,
    '(values (1)) as one',
  )
export const crontabRan = (id: string, ago: string) => `
  insert into graphile_worker._private_known_crontabs values ('${id}', now() - interval '9 days', now() - interval '${ago}')`
const job = (columns: string, values: string) => `
  select graphile_worker.add_job('expire_subscriptions');
  update graphile_worker._private_jobs set (${columns}) = row(${values})`

/** From Postgres 16 on each membership says so for itself. */
const INHERITS = `do $$ begin
  if current_setting('server_version_num')::integer < 160000 then
    alter role ${api} inherit;
  else
    execute 'update pg_auth_members set inherit_option = true where member = ''${api}''::regrole';
  end if;
end $$`

/** What is wrong, the SQL by which a superuser brings it about, and what the owner is told. */
export const faults: [string, string, Finding['verdict'], RegExp][] = [
  [
    'a migration that is missing',
    'delete from graphile_migrate.migrations where filename = (select max(filename) from graphile_migrate.migrations)',
    'FAIL',
    /^The database lacks \S+\.sql/,
  ],
  [
    'a migration of a newer build',
    "insert into graphile_migrate.migrations (hash, filename) values ('sha1:later', '999999-later.sql')",
    'FAIL',
    /newer migrations than this build/,
  ],
  ['a server below Postgres 15', setting('server_version_num', '140012'), 'FAIL', /Postgres 14/],
  ['a server that nobody has tried', setting('server_version_num', '190001'), 'WARN', /Postgres 19/],
  [
    'a login that does not own the schema',
    'alter schema app_private owner to postgres',
    'FAIL',
    /does not own app_private/,
  ],
  ['an owner above row security', 'alter role forecourt_test_owner bypassrls', 'WARN', /above row security/],
  ['an extension that is gone', 'alter extension btree_gist set schema public', 'FAIL', /btree_gist/],
  [
    'an extension that is behind',
    "update pg_extension set extversion = '1.0' where extname = 'btree_gist'",
    'WARN',
    /btree_gist is 1\.0/,
  ],
  [
    'a role that is gone',
    'alter role forecourt_visitor rename to nobody',
    'FAIL',
    /forecourt_visitor is missing/,
  ],
  ['a login that inherits', `alter role ${api} inherit`, 'FAIL', /authenticator has inherit/],
  [
    'an API role that is superuser',
    'alter role forecourt_admin superuser',
    'FAIL',
    /forecourt_admin has superuser/,
  ],
  ['an API role past row security', `alter role ${api} bypassrls`, 'FAIL', /authenticator has bypassrls/],
  ['an API role that makes roles', `alter role ${api} createrole`, 'FAIL', /authenticator has createrole/],
  ['an API role that logs in', 'alter role forecourt_admin login', 'FAIL', /forecourt_admin has login/],
  ['an API login that cannot', `alter role ${api} nologin`, 'FAIL', /may not log in/],
  ['a membership too many', `grant pg_monitor to ${api}`, 'FAIL', /is a member of pg_monitor/],
  ['a membership that inherits by itself', INHERITS, 'FAIL', /inherits the rights of forecourt_admin/],
  [
    'a membership too few',
    `delete from pg_auth_members where roleid = 'forecourt_admin'::regrole and member = '${api}'::regrole`,
    'FAIL',
    /may not become forecourt_admin/,
  ],
  [
    'an API role that owns',
    `alter view app_public.pricing_gaps owner to ${api}`,
    'FAIL',
    /authenticator owns view/,
  ],
  [
    'an API role that may create',
    'grant create on schema public to public',
    'FAIL',
    /may create in the schema public/,
  ],
  [
    'an API role let into a private schema',
    `grant usage on schema app_private to ${api}`,
    'FAIL',
    /may use the schema app_private/,
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
    'a table whose owner is above it',
    `alter table ${vatRates} no force row level security`,
    'FAIL',
    /vat_rates: not forced/,
  ],
  [
    'a function without a search path',
    'alter function app_private.price_item reset search_path',
    'FAIL',
    /price_item\(.*no safe search path/,
  ],
  [
    'a function for everybody',
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
    'a trigger left off',
    'alter table app_public.price_configs disable trigger user',
    'FAIL',
    /trigger price_configs\w+ on .* is off/,
  ],
  [
    'an index whose build broke off',
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
    'a large index that nobody uses',
    'create table app_public.t as select generate_series(1, 600000) as n; create index ix_t on app_public.t (n)',
    'WARN',
    /ix_t \(\d+ MB\) was not used/,
  ],
  [
    'a table that takes many times what is in it',
    `create table app_private.t with (fillfactor = 10) as select repeat('x', 60) as x from generate_series(1, 130000);
     analyze app_private.t; grant select on app_private.t to public`,
    'WARN',
    /^app_private\.t takes 1\d\d MB for rows of about 1\d MB/,
  ],
  [
    'an index that takes many times what is in it',
    `create table app_private.t as select generate_series(1, 600000) as n;
     create index i on app_private.t (n) with (fillfactor = 10)`,
    'WARN',
    /^app_private\.i takes 1?\d\d MB, 2\d\d bytes for each entry/,
  ],
  [
    'autovacuum switched off for a table',
    `alter table ${vatRates} set (autovacuum_enabled = off)`,
    'WARN',
    /autovacuum is off for app_public\.vat_rates/,
  ],
  [
    'old transaction ids',
    pretending(
      'pg_database',
      'datname, mod(4294967296 + pg_current_xact_id()::text::bigint - 600000000, 4294967296)::text::xid as datfrozenxid, datminmxid',
    ),
    'WARN',
    /is 6\d{8} transactions old/,
  ],
  [
    'a prepared transaction',
    pretending(
      'pg_prepared_xacts',
      "'left' as gid, 'x' as owner, now() - interval '6 minutes' as prepared, current_database() as database",
      '(values (1)) as one',
    ),
    'FAIL',
    /'left' of x/,
  ],
  ['a slot that fills the disk', slot(true, 'unreserved'), 'FAIL', /standby \(in use\) .* unreserved/],
  ['a slot without a reader', slot(false, 'reserved'), 'WARN', /standby \(unused\) holds/],
  [
    'WAL that cannot be archived',
    pretending(
      'pg_stat_archiver',
      "now() as last_failed_time, '00' as last_failed_wal, now() - interval '1 minute' as last_archived_time",
    ),
    'FAIL',
    /archiving fails/,
  ],
  ['WAL that is not archived', 'select', 'note', /not archived/],
  ['a server that does not wait for the disk', 'select', 'FAIL', /^fsync is off/],
  ['pages that may be torn', 'select', 'FAIL', /^full_page_writes is off/],
  ['answers ahead of the disk', 'select', 'FAIL', /^synchronous_commit is off/],
  [
    'the same for the API alone',
    `alter role ${api} set synchronous_commit to off`,
    'FAIL',
    /synchronous_commit=off is set for forecourt_authenticator/,
  ],
  ['a server without autovacuum', setting('autovacuum', 'off'), 'FAIL', /^autovacuum is off/],
  [
    'another isolation than the functions lock for',
    'set local default_transaction_isolation to serializable',
    'FAIL',
    /isolation is serializable/,
  ],
  [
    'a job that nobody takes',
    job('run_at', "now() - interval '2 hours'"),
    'FAIL',
    /1 jobs of expire_subscriptions wait/,
  ],
  [
    'a job that waits a little',
    job('run_at', "now() - interval '6 minutes'"),
    'WARN',
    /1 jobs of expire_subscriptions wait/,
  ],
  [
    'a job that does not end',
    job('locked_at, locked_by', "now() - interval '2 hours', 'worker-1'"),
    'WARN',
    /running on worker-1/,
  ],
  [
    'a job that was given up',
    job('attempts, last_error', "25, 'no such thing'"),
    'FAIL',
    /given up after 25 attempts: no such thing/,
  ],
  ['a job that keeps failing', job('attempts, last_error', "7, 'no such thing'"), 'WARN', /failed 7 times/],
  ['a database without a worker', 'select', 'WARN', /no worker has ever run/],
  [
    'a task that was missed',
    crontabRan('expire_subscriptions', '2 days'),
    'FAIL',
    /expire_subscriptions was due .*/,
  ],
  [
    'a transaction that goes on, though it sent something a moment ago',
    session('idle in transaction', '3 hours', '30 seconds'),
    'FAIL',
    /in a transaction for 03:00:.*, idle in transaction since 00:00:3/,
  ],
  [
    'a statement that takes long',
    session('active', '6 minutes', '6 minutes'),
    'WARN',
    /in a transaction for 00:06:.*, active since/,
  ],
  [
    'a task that no worker knows',
    crontabRan('expire_subscriptions', '0'),
    'WARN',
    /remove_idle_rate_limit_counters is not known/,
  ],
]
