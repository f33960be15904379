--! Previous: sha1:f5d562332f209412008b193d258f81d0f3882c1f
--! Hash: sha1:c006b896e4670c082b037ca4a7db7c06c6f39125
--! Message: trusted dealers

set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included database/lock_tables.sql
create or replace function app_private.lock_tables(variadic tables regclass[]) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '300ms'
as $$
begin
  while clock_timestamp() < statement_timestamp() + interval '40 seconds' loop
    begin
      execute format('lock table %s in access exclusive mode', array_to_string(tables, ', '));
      return;
    exception when lock_not_available then
      -- The locks that it got are free again. Let the requests pass that have queued behind it.
      perform pg_sleep(0.5);
    end;
  end loop;
  raise exception using
    errcode = '55P03',
    message = format('Other transactions hold locks on %s. Please run the migration again when they have ended.', array_to_string(tables, ', '));
end
$$;

comment on function app_private.lock_tables(regclass[]) is 'For migrations: locks tables in this order, exclusively, until the transaction ends. It waits 300 ms for each and then gives way and tries again, for 40 s, because every request queues behind a waiting lock. Raises 55P03.';
--! EndIncluded database/lock_tables.sql

-- Alone: readers of listings lock `listings` before `dealers`, and publications do the opposite. A migration that locked both would
-- deadlock with one of them. A constant default does not rewrite the table.
select app_private.lock_tables('app_public.dealers');
alter table app_public.dealers add column if not exists is_trusted boolean not null default false;
comment on column app_public.dealers.is_trusted is 'True: its new listings are active at once, and nobody reviews its edits.';
