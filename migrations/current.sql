--! Message: reconciliation, pricing conflicts, alerts

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

create table if not exists app_private.alerts (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  kind text not null constraint alerts_kind_form check (kind ~ '^[a-z][a-z_]{2,39}$'),
  key text not null constraint alerts_key_length check (length(key) between 1 and 200),
  message text not null constraint alerts_message_length check (length(message) between 1 and 1000),
  details jsonb not null default '{}' constraint alerts_details_object check (jsonb_typeof(details) = 'object'),
  created_at timestamptz not null default clock_timestamp(),
  constraint alerts_kind_key_key unique (kind, key)
);
comment on table app_private.alerts is 'The outbox of alerts: what operators are told, each once. app_private.send_alert writes it, the worker sends it.';
comment on column app_private.alerts.id is 'Time-ordered; the receiver''s idempotency key.';
comment on column app_private.alerts.kind is 'What it is about, such as ledger_broken.';
comment on column app_private.alerts.key is 'Within its kind, what is told once only; often with the hour or the day.';
comment on column app_private.alerts.message is 'A sentence for a person.';
comment on column app_private.alerts.details is 'The facts, an object.';
comment on column app_private.alerts.created_at is 'When it was raised.';

create index if not exists ix_alerts_kind_created_at on app_private.alerts (kind, created_at);

create table if not exists app_private.alert_deliveries (
  alert_id uuid not null references app_private.alerts,
  channel text not null constraint alert_deliveries_channel_known check (channel in ('webhook', 'email')),
  attempts integer not null constraint alert_deliveries_attempts_positive check (attempts > 0),
  delivered_at timestamptz,
  last_error text,
  primary key (alert_id, channel)
);
comment on table app_private.alert_deliveries is 'What became of an alert on each channel; an alert without rows was not yet tried, came in a flood, or no channel is configured.';
comment on column app_private.alert_deliveries.alert_id is 'The alert.';
comment on column app_private.alert_deliveries.channel is 'Where it goes.';
comment on column app_private.alert_deliveries.attempts is 'How often the worker has tried.';
comment on column app_private.alert_deliveries.delivered_at is 'When it was taken; null: not yet.';
comment on column app_private.alert_deliveries.last_error is 'Why the last attempt failed; null: it did not.';

create table if not exists app_private.ledger_checks (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  started_at timestamptz not null,
  finished_at timestamptz not null,
  broken integer not null constraint ledger_checks_broken_not_negative check (broken >= 0),
  findings jsonb not null,
  constraint ledger_checks_finished_after_start check (finished_at >= started_at)
);
comment on table app_private.ledger_checks is 'Results of the nightly reconciliation; the last one says how the books stand.';
comment on column app_private.ledger_checks.id is 'Time-ordered.';
comment on column app_private.ledger_checks.started_at is 'When it began.';
comment on column app_private.ledger_checks.finished_at is 'When it was done.';
comment on column app_private.ledger_checks.broken is 'How many rows break a rule; 0: the books are in order.';
comment on column app_private.ledger_checks.findings is 'The broken rules: [{"rule": …, "broken": n, "examples": [up to five]}].';

create table if not exists app_private.pricing_conflicts (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  country text not null constraint pricing_conflicts_country_form check (country ~ '^[A-Z]{2}$'),
  segment app_public.segment not null,
  pricing_type app_public.pricing_type,
  configuration text not null constraint pricing_conflicts_configuration_known check (configuration in ('currency', 'vat_rate', 'price')),
  code text not null constraint pricing_conflicts_code_known check (code in ('pricing_config_missing', 'pricing_config_ambiguous')),
  count bigint not null constraint pricing_conflicts_count_positive check (count > 0),
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  constraint pricing_conflicts_key unique nulls not distinct (country, segment, pricing_type, configuration, code),
  constraint pricing_conflicts_seen_in_order check (last_seen_at >= first_seen_at)
);
comment on table app_private.pricing_conflicts is 'What customers were refused for missing or ambiguous configuration (409), added up: their own transaction is rolled back.';
comment on column app_private.pricing_conflicts.id is 'Time-ordered.';
comment on column app_private.pricing_conflicts.country is 'The dealer''s, ISO 3166-1 alpha-2.';
comment on column app_private.pricing_conflicts.segment is 'Who was refused.';
comment on column app_private.pricing_conflicts.pricing_type is 'What was to be paid for; null: a package.';
comment on column app_private.pricing_conflicts.configuration is 'What is missing or ambiguous.';
comment on column app_private.pricing_conflicts.code is 'The code that the customer got.';
comment on column app_private.pricing_conflicts.count is 'How many refusals.';
comment on column app_private.pricing_conflicts.first_seen_at is 'When the first one was recorded.';
comment on column app_private.pricing_conflicts.last_seen_at is 'When the last one was recorded.';

do $$ begin
  create type app_private.ledger_fault as (rule text, dealer_id uuid, id uuid, detail jsonb);
exception when duplicate_object then null; end $$;
comment on type app_private.ledger_fault is 'A row that breaks an invariant of the books.';
comment on column app_private.ledger_fault.rule is 'The invariant, as a sentence.';
comment on column app_private.ledger_fault.dealer_id is 'Whose books.';
comment on column app_private.ledger_fault.id is 'The row: a listing, a subscription, an invoice or an item, as the rule says.';
comment on column app_private.ledger_fault.detail is 'What stands against what.';

drop function if exists app_private.pass_pricing_gate(text, timestamptz);

--!include pricing/pass_pricing_gate.sql
--!include quota/decide_publication.sql
--!include billing/buy_package.sql
--!include operations/send_alert.sql
--!include operations/record_alert_delivery.sql
--!include operations/remove_old_alerts.sql
--!include operations/verify_listings.sql
--!include operations/verify_subscriptions.sql
--!include operations/verify_paid_extras.sql
--!include operations/verify_invoices.sql
--!include operations/verify_purchases.sql
--!include operations/verify_ledger.sql
--!include operations/check_ledger.sql
--!include operations/record_pricing_conflicts.sql
--!include operations/alert_pricing_gaps.sql

do $$
declare
  v_table regclass;
begin
  foreach v_table in array array[
    'app_private.alerts', 'app_private.alert_deliveries', 'app_private.ledger_checks', 'app_private.pricing_conflicts']::regclass[]
  loop
    execute format('alter table %s enable row level security', v_table);
    execute format('alter table %s force row level security', v_table);
    execute format('drop policy if exists all_owner on %s', v_table);
    execute format('create policy all_owner on %s to current_user using (true) with check (true)', v_table);
  end loop;
end
$$;
