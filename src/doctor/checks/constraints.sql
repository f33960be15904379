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
