--! Previous: sha1:3877ca61c9d539e04d6c08149a40bd46e5a0b1ef
--! Hash: sha1:b15d198542f99ccd2b21b53a25158f1dcb279746
--! Message: require valid indexes

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- An interrupted build leaves an index that is not valid, and a second `create index if not exists` keeps it. The next migration drops
-- the only other index that refuses a second publication. A dropped index would not be built again: its migration is recorded as run.
do $$
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
end $$;
