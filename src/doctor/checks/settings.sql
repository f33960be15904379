-- settings: commits survive a crash, and the isolation level is the one that the functions lock for
select r.verdict, format('%s is %s', s.name, s.setting) as finding, r.remedy
from pg_settings as s
join (values
  ('FAIL', 'fsync', array['off'], 'a crash of the machine destroys the database: alter system set fsync to on'),
  ('FAIL', 'full_page_writes', array['off'], 'a crash can tear pages: alter system set full_page_writes to on'),
  ('FAIL', 'synchronous_commit', array['off'], 'a crash loses publications after their response: set it to on, for the database or its roles'),
  ('FAIL', 'autovacuum', array['off'], 'alter system set autovacuum to on'),
  ('FAIL', 'track_counts', array['off'], 'autovacuum needs it: alter system set track_counts to on'),
  ('FAIL', 'default_transaction_isolation', array['repeatable read', 'serializable'],
    'the functions rely on read committed: alter database … reset default_transaction_isolation'),
  ('FAIL', 'default_transaction_read_only', array['on'], 'nothing can be written: alter database … reset default_transaction_read_only'),
  ('FAIL', 'session_replication_role', array['replica'], 'triggers and foreign keys do not work: reset session_replication_role'),
  ('WARN', 'password_encryption', array['md5'], 'alter system set password_encryption to ''scram-sha-256'', then set the passwords again'),
  ('WARN', 'data_checksums', array['off'], 'nobody notices damage by the disk: pg_checksums --enable, on a stopped server'),
  ('WARN', 'zero_damaged_pages', array['on'], 'Postgres empties damaged pages without an error: alter system reset zero_damaged_pages')
) as r (verdict, name, wrong, remedy) on r.name = s.name and s.setting = any (r.wrong)
union all
select 'FAIL', format('%s is set for %s', setting, coalesce(nullif(d.setrole, 0)::regrole::text, 'every role')),
  case
    when setting = 'synchronous_commit=off' then 'the API''s commits may be lost in a crash: alter role … reset synchronous_commit'
    when setting like 'role=%' then 'each session begins with the rights of that role: alter role … reset role'
    else 'triggers and foreign keys do not work there: alter role … reset session_replication_role' end
from pg_db_role_setting as d
cross join unnest(d.setconfig) as setting
where (setting in ('synchronous_commit=off', 'session_replication_role=replica') or setting like 'role=%') and d.setdatabase in (0, (select oid from pg_database where datname = current_database()))
  and (d.setrole = 0 or d.setrole::regrole::text in ('forecourt_authenticator', current_user))
