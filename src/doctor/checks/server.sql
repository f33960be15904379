-- server: Postgres 15 to 18, not a standby
select case when s.version < 15 then 'FAIL' else 'WARN' end as verdict, format('this is Postgres %s', s.version) as finding,
  case when s.version < 15 then 'move to Postgres 15 to 18' else 'newer than what this build was tested on' end as remedy
from (select setting::integer / 10000 as version from pg_settings where name = 'server_version_num') as s
where s.version not between 15 and 18
union all
select 'FAIL', 'this server is a standby', 'point DATABASE_URL at the primary'
where pg_is_in_recovery()
