-- constraints and triggers: every constraint is validated, every trigger is on
select 'WARN' as verdict, format('%s on %s was never validated', c.conname, c.conrelid::regclass) as finding,
  format('alter table %s validate constraint %I', c.conrelid::regclass, c.conname) as remedy
from pg_constraint as c
where not c.convalidated and c.connamespace::regnamespace::text in ('app_public', 'app_private')
union all
select 'FAIL', format('the trigger %s on %s is off', t.tgname, t.tgrelid::regclass),
  format('alter table %s enable trigger %I', t.tgrelid::regclass, t.tgname)
from pg_trigger as t
join pg_class as c on c.oid = t.tgrelid
where not t.tgisinternal and t.tgenabled in ('D', 'R') and c.relnamespace::regnamespace::text in ('app_public', 'app_private')
union all
-- triggers of Postgres itself enforce foreign keys, and a superuser can switch them off
select 'FAIL', format('the foreign keys from or to %s are not enforced', t.tgrelid::regclass),
  format('as a superuser: alter table %s enable trigger all; then look for rows that break them', t.tgrelid::regclass)
from pg_trigger as t
join pg_class as c on c.oid = t.tgrelid
where t.tgisinternal and t.tgenabled in ('D', 'R') and c.relnamespace::regnamespace::text in ('app_public', 'app_private')
group by t.tgrelid
union all
-- Postgres copies row triggers to partitions, but no statement triggers
select 'FAIL', format('the partition %s lacks the trigger %s', i.inhrelid::regclass, t.tgname),
  format('select app_private.guard_audit_partition(%L)', i.inhrelid::regclass)
from pg_inherits as i
join pg_trigger as t on t.tgrelid = i.inhparent and not t.tgisinternal
where i.inhparent = to_regclass('app_public.audit_logs')
  and not exists (
    select from pg_trigger as own where own.tgrelid = i.inhrelid and (own.tgname, own.tgtype, own.tgfoid) = (t.tgname, t.tgtype, t.tgfoid))
union all
select 'FAIL', format('the partition %s has the trigger %s of its own', t.tgrelid::regclass, t.tgname),
  format('drop trigger %I on %s', t.tgname, t.tgrelid::regclass)
from pg_trigger as t
join pg_inherits as i on i.inhrelid = t.tgrelid
where i.inhparent = to_regclass('app_public.audit_logs') and not t.tgisinternal
  and not exists (select from pg_trigger as of_all where of_all.tgrelid = i.inhparent and of_all.tgname = t.tgname)
union all
select 'FAIL', 'app_public.audit_logs has no default partition: rows of a month without a partition are refused',
  'see migrations/committed/000002-audit-trail.sql'
from pg_partitioned_table as p where p.partrelid = to_regclass('app_public.audit_logs') and p.partdefid = 0
union all
-- the schema snapshot leaves partitions out, because they come and go with the months
select 'FAIL', format('the partition %s has the policy %s of its own', i.inhrelid::regclass, p.polname),
  format('drop policy %I on %s', p.polname, i.inhrelid::regclass)
from pg_inherits as i
join pg_policy as p on p.polrelid = i.inhrelid
where i.inhparent = to_regclass('app_public.audit_logs') and p.polname <> 'all_owner'
union all
select 'WARN', format('the partition %s has the constraint %s of its own', i.inhrelid::regclass, c.conname),
  format('alter table %s drop constraint %I', i.inhrelid::regclass, c.conname)
from pg_inherits as i
join pg_constraint as c on c.conrelid = i.inhrelid
where i.inhparent = to_regclass('app_public.audit_logs') and c.contype <> 'n' and c.coninhcount = 0
union all
select 'note', format('the event trigger %I of %s runs at %s', e.evtname, e.evtowner::regrole, e.evtevent),
  format('it may change or refuse migrations: drop event trigger %I, unless you know it', e.evtname)
from pg_event_trigger as e where e.evtenabled <> 'D'
