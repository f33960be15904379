-- vacuum: it reaches every table, removes dead rows, and freezes old transactions
select 'WARN' as verdict, format('%s: %s dead rows beside %s', s.relid::regclass, s.n_dead_tup, s.n_live_tup) as finding,
  format('end the long transactions that hold them (see sessions), then vacuum (verbose) %s', s.relid::regclass) as remedy
from pg_stat_user_tables as s
where s.n_dead_tup > 10000 and s.n_dead_tup > 0.2 * (s.n_live_tup + s.n_dead_tup)
union all
select 'WARN', format('%s has %s rows and was never vacuumed', s.relid::regclass, s.n_live_tup),
  format('vacuum (analyze) %s; find out why autovacuum skips it', s.relid::regclass)
from pg_stat_user_tables as s
where s.n_live_tup > 100000 and s.last_vacuum is null and s.last_autovacuum is null
union all
select 'WARN', format('autovacuum is off for %s', c.oid::regclass), format('alter table %s reset (autovacuum_enabled)', c.oid::regclass)
from pg_class as c
where c.relkind in ('r', 'm') and c.reloptions && array['autovacuum_enabled=false', 'autovacuum_enabled=off']
union all
-- beyond 2.1 billion the server refuses writes
select case when a.age > 1500000000 then 'FAIL' else 'WARN' end, format('%s is %s %s old', d.datname, a.age, a.kind),
  'vacuum (freeze, verbose) in that database; look for old transactions, slots and prepared transactions'
from pg_database as d
cross join lateral (values
  ('transactions', age(d.datfrozenxid)), ('multixacts', mxid_age(d.datminmxid))
) as a (kind, age)
where a.age > 500000000
