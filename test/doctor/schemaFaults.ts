/** Differences from schema.sql, each in a form that a transaction can roll back. */
import type { Finding } from '../../src/doctor/finding.ts'

type Verdict = Finding['verdict']

/** The difference, the SQL by which a superuser plants it, and the finding about it. */
export type SchemaFault = [difference: string, sql: string, verdict: Verdict, finding: RegExp]

const subscriptions = 'app_public.dealer_subscriptions'
const vatRates = 'app_public.vat_rates'

/** A person has to decide how to correct these. */
export const others: SchemaFault[] = [
  [
    'a column that is missing',
    'alter table app_public.listings drop column description',
    'FAIL',
    /^the column app_public\.listings\.description is missing$/,
  ],
  [
    'an additional column',
    `alter table ${vatRates} add column remark text`,
    'FAIL',
    /^the column app_public\.vat_rates\.remark is in the database alone$/,
  ],
  [
    'a column of another type',
    'alter table app_public.listings alter column title type varchar(200)',
    'FAIL',
    /^the column app_public\.listings\.title is "character varying\(200\) not null" instead of "text not null"$/,
  ],
  [
    'a column that may be null',
    'alter table app_public.listings alter column title drop not null',
    'FAIL',
    /^the column app_public\.listings\.title is "text" instead of "text not null"$/,
  ],
  [
    'a column at another position',
    `alter table app_private.alert_deliveries drop column last_error, add column position integer;
     alter table app_private.alert_deliveries drop column position, add column last_error text;
     alter table app_private.alert_deliveries drop column delivered_at, add column delivered_at timestamptz`,
    'FAIL',
    /^the order of columns of app_private\.alert_deliveries is "/,
  ],
  [
    'a table that loses its rows in a crash',
    'alter table app_private.ledger_checks set unlogged',
    'FAIL',
    /^the table app_private\.ledger_checks is "unlogged table" instead of "table"$/,
  ],
  [
    'a table that is missing',
    'drop table app_private.ledger_checks cascade',
    'FAIL',
    /^the table app_private\.ledger_checks is missing$/,
  ],
  [
    'a value of an enum that is in the database alone',
    "alter type app_public.segment add value 'fleet'",
    'FAIL',
    /^the type app_public\.segment has another definition$/,
  ],
  [
    'a view that reads as its owner',
    'alter view app_public.pricing_gaps set (security_invoker = false)',
    'FAIL',
    /^the view app_public\.pricing_gaps has another definition$/,
  ],
  [
    'default privileges that are missing',
    'set role forecourt_test_owner; alter default privileges grant execute on functions to public; reset role',
    'FAIL',
    /^the default privileges of functions are missing$/,
  ],
  [
    'an extension in another schema',
    'alter extension btree_gist set schema public',
    'FAIL',
    /^the extension btree_gist is missing$/,
  ],
  [
    'an instruction to PostGraphile that is missing',
    'comment on table app_public.listings is null',
    'WARN',
    /^the instruction to the API on table app_public\.listings is missing$/,
  ],
  [
    'comments that differ',
    `comment on table ${vatRates} is null; comment on column ${vatRates}.rate is 'The rate.'`,
    'note',
    /^2 comments differ, such as that on /,
  ],
  [
    'an additional table, without each of its columns',
    'create table app_private.by_hand (id integer primary key)',
    'note',
    /^the table app_private\.by_hand is in the database alone$/,
  ],
  [
    'an additional function',
    "create function app_private.by_hand() returns integer language sql as 'select 1'",
    'note',
    /^the function app_private\.by_hand\(\) is in the database alone$/,
  ],
  [
    'an additional function with a line break in a default value',
    "create function app_private.by_hand(a text default E'(a)\\n b') returns integer language sql as 'select 1'",
    'note',
    /^the function app_private\.by_hand\(a text DEFAULT '\(a\)\n b'::text\) is in the database alone$/,
  ],
  [
    'a function with another owner',
    `alter function app_public.quote_listing owner to postgres`,
    'FAIL',
    /^another owner of app_public\.quote_listing\(uuid\) is in the database alone$/,
  ],
  [
    'a second function of the same name, which calls may choose',
    "create function app_private.refuse_change(n integer) returns integer language sql as 'select 1'",
    'WARN',
    /^the function app_private\.refuse_change\(n integer\) is in the database alone$/,
  ],
]

/**
 * Postgres prints the expressions of these. Another major version than the snapshot's may print them in its own way, so a
 * difference there is a warning.
 */
export const printed: SchemaFault[] = [
  [
    'another condition of a policy',
    `alter policy select_member on ${subscriptions} using (true)`,
    'FAIL',
    /^the policy select_member on app_public\.dealer_subscriptions /,
  ],
  [
    'another check constraint of the same name',
    `alter table app_private.alerts drop constraint alerts_key_length,
       add constraint alerts_key_length check (length(key) > -1)`,
    'FAIL',
    /^the constraint alerts_key_length on app_private\.alerts is "CHECK /,
  ],
  [
    'another index of the same name',
    `drop index app_public.ix_dealer_subscriptions_status_end_at;
     create index ix_dealer_subscriptions_status_end_at on ${subscriptions} (end_at)`,
    'FAIL',
    /^the index ix_dealer_subscriptions_status_end_at on app_public\.dealer_subscriptions /,
  ],
  [
    'another condition of a trigger',
    `drop trigger users_admin_made_audited on app_public.users;
     create trigger users_admin_made_audited after insert on app_public.users
       for each row when (false) execute function app_private.audit_change()`,
    'FAIL',
    /^the trigger users_admin_made_audited on app_public\.users /,
  ],
  [
    'another default of a column',
    'alter table app_public.users alter column is_admin set default true',
    'FAIL',
    /^the column app_public\.users\.is_admin is "boolean default true not null" instead of /,
  ],
]
