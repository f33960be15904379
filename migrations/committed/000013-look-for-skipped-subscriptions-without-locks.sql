--! Previous: sha1:2d95835d7373634dbe8add1d2234e853cec2e71d
--! Hash: sha1:963e101eb8baaf2513c5ba23a0ef2f9e1e1678d0
--! Message: look for skipped subscriptions without locks

set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included subscription/expire_subscriptions.sql
create or replace function app_private.expire_subscriptions(batch_size integer default 1000) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  -- how far this session has got: the index entries before it are dead, and walking over them again makes a long run quadratic
  v_from constant timestamptz := coalesce(nullif(current_setting('forecourt.expired_until', true), ''), '-infinity')::timestamptz;
  v_until timestamptz;
  v_ids uuid[];
  v_dealer_ids uuid[];
  v_count integer;
begin
  if batch_size is null or batch_size < 1 then
    raise exception using errcode = 'FC010', message = 'The batch size must be at least 1.';
  end if;
  perform set_config('forecourt.expires_in_batch', 'on', true);
  with due as (
    select s.dealer_id, s.ctid
    from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at >= v_from and s.end_at <= v_now
    order by s.end_at
    limit expire_subscriptions.batch_size
    for update skip locked
  ), expired as (
    update app_public.dealer_subscriptions as s
    set status = 'expired', updated_at = v_now
    from due
    -- locked as it is, the row is where it was found; no second look at an index
    where s.dealer_id = due.dealer_id and s.ctid = due.ctid
    returning s.dealer_id, s.id, s.end_at
  )
  select count(*)::integer, array_agg(e.id), array_agg(e.dealer_id), max(e.end_at)
  into v_count, v_ids, v_dealer_ids, v_until
  from expired as e;
  perform set_config('forecourt.expires_in_batch', '', true);
  if v_count > 0 then
    perform app_private.write_audit_log(
      'SYSTEM_EXPIRE', 'dealer_subscriptions', null, null, jsonb_build_object('count', v_count, 'ids', to_jsonb(v_ids)));
    perform app_private.activate_pending_subscriptions(v_dealer_ids);
  end if;
  -- at the end it begins anew, once: for what was skipped, or was given an earlier end meanwhile
  perform set_config('forecourt.expired_until', case when v_count > 0 then v_until::text else '' end, false);
  if v_count = 0 and v_from > '-infinity' then
    -- without locks first: a walk over all that is dead takes a while, and nothing is to be locked meanwhile
    perform from app_public.dealer_subscriptions as s where s.status = 'active' and s.end_at <= v_now limit 1;
    if found then
      return app_private.expire_subscriptions(batch_size);
    end if;
  end if;
  if v_count = 0 then
    perform app_private.activate_pending_subscriptions();
    perform app_private.schedule_skipped_expiry(v_now);
  end if;
  return v_count;
end
$$;

comment on function app_private.expire_subscriptions(integer) is
  'Expires up to `batch_size` active subscriptions whose end has come, oldest end first, starts those that waited for them, writes one SYSTEM_EXPIRE audit row, and returns how many expired; 0: done. Rows that a publication holds are left for the next call, which a worker job makes a few seconds after the last. Call it in a loop on one connection, each call a transaction: the session remembers how far it has got. Raises FC010 for a size below 1.';
--! EndIncluded subscription/expire_subscriptions.sql
