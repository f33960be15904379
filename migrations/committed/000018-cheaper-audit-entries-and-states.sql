--! Previous: sha1:6ecb5d489b72227062c34118a0b554209489b1f2
--! Hash: sha1:8cc490e47212a05b6f97575dab04f1a46bb2cb93
--! Message: cheaper audit entries and states

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- The one large value is the list of an expiry batch: to compress its ids takes a tenth of the batch, and halves it.
alter table app_public.audit_logs alter column new_values set storage external;
--! Included operations/make_audit_partition.sql
create or replace function app_private.make_audit_partition(month date) returns boolean
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '2s'
as $$
declare
  v_from constant timestamptz := date_trunc('month', month::timestamp) at time zone 'UTC';
  v_to constant timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') at time zone 'UTC';
  v_name constant text := to_char(month::timestamp, '"app_private.audit_logs_"YYYY_MM');
begin
  if to_regclass(v_name) is not null then
    return false;
  end if;
  execute format('create table %s (like app_public.audit_logs including defaults including constraints including storage)', v_name);
  perform from app_private.audit_logs_default as d where d.created_at >= v_from and d.created_at < v_to limit 1;
  if found then
    -- written while the month had no partition of its own
    alter table app_private.audit_logs_default disable trigger audit_logs_append_only;
    execute format(
      'with moved as (delete from app_private.audit_logs_default where created_at >= %L and created_at < %L returning *)
       insert into %s select * from moved',
      v_from, v_to, v_name);
    alter table app_private.audit_logs_default enable trigger audit_logs_append_only;
  end if;
  execute format('alter table app_public.audit_logs attach partition %s for values from (%L) to (%L)', v_name, v_from, v_to);
  perform app_private.guard_audit_partition(v_name::regclass);
  return true;
end
$$;

comment on function app_private.make_audit_partition(date) is
  'Makes the partition of the audit trail for the month (UTC) of this day, and takes in what the default partition holds of it. False: it is there already.';
--! EndIncluded operations/make_audit_partition.sql
--! Included operations/write_audit_log.sql
create or replace function app_private.write_audit_log(
  action text, resource_type text, resource_id uuid, old_values jsonb, new_values jsonb
) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- in PL/pgSQL, which keeps the plan: to route a row to its partition takes longer to plan than to do
  insert into app_public.audit_logs (action, resource_type, resource_id, actor, old_values, new_values, ip)
  values (
    write_audit_log.action, write_audit_log.resource_type, write_audit_log.resource_id, app_public.current_user_id(),
    write_audit_log.old_values, write_audit_log.new_values, nullif(current_setting('forecourt.client_ip', true), '')::inet
  );
end
$$;

comment on function app_private.write_audit_log(text, text, uuid, jsonb, jsonb) is
  'Writes one row to the audit trail; actor and address are those of the transaction''s settings.';
--! EndIncluded operations/write_audit_log.sql

-- The condition is the rule: the function is called for what breaks it.
create or replace trigger dealer_subscriptions_state before update on app_public.dealer_subscriptions
  for each row when (
    (old.dealer_id, old.id, old.included_listing_quota, old.included_premium_quota, old.included_highlight_quota)
    is distinct from
    (new.dealer_id, new.id, new.included_listing_quota, new.included_premium_quota, new.included_highlight_quota)
    or old.status <> new.status and not (
      old.status = 'pending' and new.status in ('active', 'cancelled')
      or old.status = 'active' and new.status in ('expired', 'cancelled'))
  ) execute function app_private.enforce_subscription_state();
--! Included subscription/enforce_subscription_state.sql
create or replace function app_private.enforce_subscription_state() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = format(
      'a subscription does not go from %s to %s in this way: pending → active → expired, pending or active → cancelled; whose it is and what it includes never change',
      old.status, new.status);
end
$$;

comment on function app_private.enforce_subscription_state() is
  'Trigger: refuses what breaks the states of a subscription, to every role. What that is, is the trigger''s condition, which costs a legitimate change a fraction of a call.';
--! EndIncluded subscription/enforce_subscription_state.sql
