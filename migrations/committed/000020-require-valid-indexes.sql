--! Previous: sha1:de6fbf8613c8e8d5350b160310f111f54c0a8c32
--! Hash: sha1:e107ee0e2ed464648bf1831488747b4eb504993a
--! Message: require valid indexes

set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included database/require_valid_indexes.sql
create or replace function app_private.require_valid_indexes() returns void
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_statements text;
begin
  select string_agg(format('%s index concurrently app_public.%I;', case when c.relname ~ '_cc(new|old)[0-9]*$' then 'drop' else 'reindex' end, c.relname), ' ')
  into v_statements
  from pg_index as i
  join pg_class as c on c.oid = i.indexrelid
  where c.relnamespace = 'app_public'::regnamespace and not i.indisvalid;
  if v_statements is not null then
    raise exception using
      errcode = '55000',
      message = 'The build of an index was interrupted. Please run as the owner, then migrate again: ' || v_statements;
  end if;
end
$$;

comment on function app_private.require_valid_indexes() is 'For migrations: raises 55000 if an index of app_public is not valid, and names the statements that repair it. An interrupted build leaves such an index, a second `create index if not exists` keeps it, and its migration is then recorded as run.';
--! EndIncluded database/require_valid_indexes.sql

-- The next migration drops the only other index that refuses a second publication. A dropped index would not be built again: its migration
-- is recorded as run.
select app_private.require_valid_indexes();
