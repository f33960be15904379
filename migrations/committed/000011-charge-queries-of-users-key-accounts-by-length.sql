--! Previous: sha1:d0a0dff952d58d3e68fbe95f8d65de373109aee3
--! Hash: sha1:6d26ed0c46f5549e43b4ba794b1679bc1039b9e5
--! Message: charge queries of users, key accounts by length

-- Gives up instead of queueing behind a long transaction, because every other session would queue behind the migration.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included identity/account_key.sql
create or replace function app_private.account_key(normalized_email text, address text default null) returns bytea
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  -- The length before each part keeps any two pairs apart. A separator alone could be part of an e-mail address.
  v_message constant bytea := convert_to(
    length(normalized_email) || ':' || normalized_email || coalesce(length(address) || ':' || address, ''), 'UTF8');
begin
  -- HMAC-SHA256 (RFC 2104).
  return (select sha256(k.outer_pad || sha256(k.inner_pad || v_message)) from app_private.account_keys as k);
end
$$;

comment on function app_private.account_key(text, text) is
  'The key under which the failed logins of an account are counted; with an address, those from that known client address. It is an HMAC, so the counters do not reveal e-mail addresses.';
--! EndIncluded identity/account_key.sql

insert into app_public.rate_limit_policies (scope, subject, fields, max_count, window_seconds, fallback)
values ('user_read', 'user', '{}', 1200, 60, 'local')
on conflict (scope) do nothing;

comment on column app_public.rate_limit_policies.fields is 'Root fields that count, such as Mutation.login. Without fields rows count: those of queries of users for the subject user, those of anonymous requests for the others. For auth_account failed logins count.';
