--! Previous: sha1:937811af8faec24714110b412ac94f21b2ff82c6
--! Hash: sha1:3c6c2dccdbd2a5c5d34a0db268980fd3b0c79761
--! Message: sessions stub

-- A stand-in for the sessions of another branch. Removed at the merge.
create or replace function app_private.open_session(user_id uuid, refresh_hash bytea) returns uuid
  language sql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$ select gen_random_uuid() $$;
comment on function app_private.open_session(uuid, bytea) is 'A stand-in.';

create or replace function app_private.end_sessions(user_id uuid, except_session uuid default null) returns void
  language sql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$ select $$;
comment on function app_private.end_sessions(uuid, uuid) is 'A stand-in.';

create or replace function app_private.refresh_lifetime() returns interval
  language sql immutable security invoker parallel safe
  return interval '30 days';
comment on function app_private.refresh_lifetime() is 'A stand-in.';
