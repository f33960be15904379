/** Faults of the server and of its operation that the doctor finds, each in a form that a transaction can roll back. */
import type { Finding } from '../../src/doctor/finding.ts'

/** Hides the view of that name behind a temporary one, for states that a test cannot bring about. */
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
    `current_database() as datname, 1 as pid, 'someone' as usename, '' as application_name, 'client backend' as backend_type,
     '${state}' as state, '' as query, now() - interval '${transaction}' as xact_start, now() - interval '${since}' as state_change`,
    '(values (1)) as one',
  )
export const crontabRan = (id: string, ago: string) => `
  insert into graphile_worker._private_known_crontabs values ('${id}', now() - interval '9 days', now() - interval '${ago}')`
const job = (columns: string, values: string) => `
  select graphile_worker.add_job('expire_subscriptions');
  update graphile_worker._private_jobs set (${columns}) = row(${values})`

const newerMigration = (oldestRelease: string) => `
  insert into graphile_migrate.migrations (hash, filename) values ('sha1:later', '999999-later.sql');
  create or replace function app_public.oldest_release() returns text language sql immutable return '${oldestRelease}'`

/** The fault, the SQL by which a superuser plants it, and the finding that the owner gets. */
export type Fault = [fault: string, sql: string, verdict: Finding['verdict'], finding: RegExp]

export const faults: Fault[] = [
  [
    'a migration that is missing',
    'delete from graphile_migrate.migrations where filename = (select max(filename) from graphile_migrate.migrations)',
    'FAIL',
    /^The database lacks \S+\.sql/,
  ],
  ['a migration of a newer build', newerMigration('0.0.1'), 'note', /newer migrations than this build/],
  [
    'a migration of a newer build that this build does not work with',
    newerMigration('999.0.0'),
    'FAIL',
    /needs Forecourt 999\.0\.0/,
  ],
  ['a server below Postgres 15', setting('server_version_num', '140012'), 'FAIL', /Postgres 14/],
  ['a server newer than the tested ones', setting('server_version_num', '190001'), 'WARN', /Postgres 19/],
  [
    'an extension that is behind',
    "update pg_extension set extversion = '1.0' where extname = 'btree_gist'",
    'WARN',
    /btree_gist is 1\.0/,
  ],
  [
    'a table that takes many times the size of its rows',
    `create table app_private.t with (fillfactor = 10) as select repeat('x', 60) as x from generate_series(1, 130000);
     analyze app_private.t; grant select on app_private.t to public`,
    'WARN',
    /^app_private\.t takes 1\d\d MB for rows of about 1\d MB/,
  ],
  [
    'an index that takes many times the size of its entries',
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
  [
    'a slot that fills the disk',
    slot(true, 'unreserved'),
    'FAIL',
    /standby \(in use\) retains .* unreserved/,
  ],
  ['a slot without a reader', slot(false, 'reserved'), 'WARN', /standby \(unused\) retains/],
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
  ['commits that do not wait for the disk', 'select', 'FAIL', /^synchronous_commit is off/],
  [
    'commits of the API that do not wait for the disk',
    `alter role ${api} set synchronous_commit to off`,
    'FAIL',
    /synchronous_commit=off is set for forecourt_authenticator/,
  ],
  [
    'a database in which no trigger works',
    `do $$ begin execute format('alter database %I set session_replication_role to replica', current_database()); end $$`,
    'FAIL',
    /^session_replication_role=replica is set for every role$/,
  ],
  [
    'an API login whose sessions begin as another role',
    `alter role ${api} set role to forecourt_admin`,
    'FAIL',
    /^role=forecourt_admin is set for forecourt_authenticator$/,
  ],
  [
    'roles of the API that make temporary tables',
    `do $$ begin execute format('grant temporary on database %I to public', current_database()); end $$`,
    'WARN',
    /^forecourt_admin, .*forecourt_visitor may make temporary tables$/,
  ],
  [
    'a database that every login may enter',
    `do $$ begin execute format('grant connect on database %I to public', current_database()); end $$`,
    'WARN',
    /^every login of the cluster may connect/,
  ],
  ['roles of the API that make large objects', 'select', 'note', /may make large objects$/],
  ['a server without autovacuum', setting('autovacuum', 'off'), 'FAIL', /^autovacuum is off/],
  [
    'another isolation level than the functions rely on',
    'set local default_transaction_isolation to serializable',
    'FAIL',
    /isolation is serializable/,
  ],
  [
    'a job that no worker starts',
    job('run_at', "now() - interval '2 hours'"),
    'FAIL',
    /1 jobs of expire_subscriptions are waiting/,
  ],
  [
    'a job that has waited for a few minutes',
    job('run_at', "now() - interval '6 minutes'"),
    'WARN',
    /1 jobs of expire_subscriptions are waiting/,
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
    'a long transaction that sent a statement a moment ago',
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
