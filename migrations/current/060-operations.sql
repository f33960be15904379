--! Message: pricing gaps, row security

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

--!include operations/pricing_gaps.sql
--!include operations/applied_migrations.sql

-- Forced, so that it holds for the owner as well: what the owner's functions may do is said here, not implied.
do $$
declare
  v_table regclass;
begin
  for v_table in
    select c.oid from pg_class as c
    where c.relnamespace in ('app_public'::regnamespace, 'app_private'::regnamespace) and c.relkind in ('r', 'p')
  loop
    execute format('alter table %s enable row level security', v_table);
    execute format('alter table %s force row level security', v_table);
    execute format('drop policy if exists all_owner on %s', v_table);
    execute format('create policy all_owner on %s to current_user using (true) with check (true)', v_table);
  end loop;
end
$$;
