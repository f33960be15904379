-- Gives up instead of queueing behind a long transaction, because every other session would queue behind the migration.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

--!include identity/account_key.sql

insert into app_public.rate_limit_policies (scope, subject, fields, max_count, window_seconds, fallback)
values ('user_read', 'user', '{}', 1200, 60, 'local')
on conflict (scope) do nothing;

comment on column app_public.rate_limit_policies.fields is 'Root fields that count, such as Mutation.login. Without fields rows count: those of queries of users for the subject user, those of anonymous requests for the others. For auth_account failed logins count.';
