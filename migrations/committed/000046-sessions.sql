--! Previous: sha1:937811af8faec24714110b412ac94f21b2ff82c6
--! Hash: sha1:1239559878702c3ca4ac074cda645796cabe10e8
--! Message: sessions

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- The foreign key and the trigger need a lock that keeps off writes.
select app_private.lock_tables('app_public.users');

create table if not exists app_private.sessions (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  user_id uuid not null references app_public.users on delete cascade,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);
comment on table app_private.sessions is 'The sessions of users. Each row is a living session: to end it, delete the row.';
comment on column app_private.sessions.id is 'Time-ordered; the claim sid of the session''s access tokens.';
comment on column app_private.sessions.user_id is 'The user. A session ends with its user.';
comment on column app_private.sessions.created_at is 'When the user logged in.';
comment on column app_private.sessions.expires_at is 'When the newest refresh token ends: refresh_lifetime after the last login or refresh.';
create index if not exists ix_sessions_user_id on app_private.sessions (user_id);
create index if not exists ix_sessions_expires_at on app_private.sessions (expires_at);

create table if not exists app_private.refresh_tokens (
  token_hash bytea not null primary key,
  session_id uuid not null references app_private.sessions on delete cascade,
  expires_at timestamptz not null,
  used_at timestamptz
);
comment on table app_private.refresh_tokens is 'The refresh tokens of living sessions. Used ones are kept until they expire, because a second use ends the session.';
comment on column app_private.refresh_tokens.token_hash is 'SHA-256 of the token, which the database never contains.';
comment on column app_private.refresh_tokens.session_id is 'The session.';
comment on column app_private.refresh_tokens.expires_at is 'When the token ends.';
comment on column app_private.refresh_tokens.used_at is 'When it was used; null: it is the newest token of its session.';
create index if not exists ix_refresh_tokens_session_id on app_private.refresh_tokens (session_id);
create index if not exists ix_refresh_tokens_expires_at on app_private.refresh_tokens (expires_at);

-- Without a foreign key: a row outlives its session.
create table if not exists app_private.revoked_sessions (
  session_id uuid not null primary key,
  revoked_at timestamptz not null default clock_timestamp()
);
comment on table app_private.revoked_sessions is 'Sessions that ended while an access token of theirs could be valid. Every API process reads them and refuses these tokens.';
comment on column app_private.revoked_sessions.session_id is 'The id that the session had.';
comment on column app_private.revoked_sessions.revoked_at is 'When the session ended. After revocation_lifetime the row has no effect.';
create index if not exists ix_revoked_sessions_revoked_at on app_private.revoked_sessions (revoked_at);

select app_private.force_row_security('app_private.sessions');
select app_private.force_row_security('app_private.refresh_tokens');
select app_private.force_row_security('app_private.revoked_sessions');

do $$ begin
  create type app_private.opened_session as (
    session_id uuid, refresh_expires_at timestamptz, user_id uuid, email text, full_name text, is_admin boolean);
exception when duplicate_object then null; end $$;
comment on type app_private.opened_session is 'A session with its user, for the answer to a login or a refresh.';
comment on column app_private.opened_session.session_id is 'The session; null: there is none, and the request is refused.';
comment on column app_private.opened_session.refresh_expires_at is 'When its newest refresh token ends.';
comment on column app_private.opened_session.user_id is 'The user.';
comment on column app_private.opened_session.email is 'The address of the user, normalised.';
comment on column app_private.opened_session.full_name is 'The name of the user.';
comment on column app_private.opened_session.is_admin is 'Whether the user is an admin now.';

--! Included identity/refresh_lifetime.sql
create or replace function app_private.refresh_lifetime() returns interval
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it.
  return 30 * interval '24 hours';

comment on function app_private.refresh_lifetime() is 'How long a refresh token lasts, and so a session that nobody refreshes.';
--! EndIncluded identity/refresh_lifetime.sql
--! Included identity/revocation_lifetime.sql
create or replace function app_private.revocation_lifetime() returns interval
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it.
  return 16 * interval '1 minute';

comment on function app_private.revocation_lifetime() is 'How long the access tokens of an ended session must be refused: they last 15 minutes, and clocks differ.';
--! EndIncluded identity/revocation_lifetime.sql
--! Included identity/revoke_sessions.sql
create or replace function app_private.revoke_sessions() returns trigger
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- @plpgsql_check_options: oldtable = ended
  insert into app_private.revoked_sessions (session_id)
  select e.id from ended as e
  where e.expires_at - app_private.refresh_lifetime() > clock_timestamp() - app_private.revocation_lifetime();
  if found then
    perform pg_notify('revoked_sessions', '');
  end if;
  return null;
end
$$;

comment on function app_private.revoke_sessions() is 'Trigger: makes every API process refuse the access tokens of the deleted sessions. A session that was not refreshed within revocation_lifetime has no valid one.';
--! EndIncluded identity/revoke_sessions.sql
--! Included identity/revoked_session_ids.sql
create or replace function app_public.revoked_session_ids() returns uuid[]
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return array(
    select r.session_id from app_private.revoked_sessions as r
    where r.revoked_at > clock_timestamp() - app_private.revocation_lifetime());
end
$$;

comment on function app_public.revoked_session_ids() is 'The sessions whose access tokens must be refused. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.revoked_session_ids() to forecourt_authenticator;
--! EndIncluded identity/revoked_session_ids.sql
--! Included identity/open_session.sql
create or replace function app_private.open_session(user_id uuid, refresh_hash bytea) returns uuid
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_expires_at constant timestamptz := clock_timestamp() + app_private.refresh_lifetime();
  v_id uuid;
begin
  -- A transaction that locks the account waits for this lock, and then ends this session too.
  perform from app_public.users as u
  where u.id = open_session.user_id and u.locked_at is null and u.deleted_at is null
  for share;
  if not found then
    raise exception using
      errcode = 'FC003',
      message = 'This account is locked. Please contact support.';
  end if;
  insert into app_private.sessions (user_id, expires_at) values (open_session.user_id, v_expires_at) returning id into v_id;
  insert into app_private.refresh_tokens (token_hash, session_id, expires_at)
  values (open_session.refresh_hash, v_id, v_expires_at);
  return v_id;
end
$$;

comment on function app_private.open_session(uuid, bytea) is 'Opens a session of a user who has proved who it is, with its first refresh token, and returns its id. `refresh_hash` is the SHA-256 of the token. Raises FC003 if the account is locked.';
--! EndIncluded identity/open_session.sql
--! Included identity/describe_session.sql
create or replace function app_private.describe_session(session_id uuid) returns app_private.opened_session
  -- Volatile: it sees a session that its caller opened in the same statement.
  language sql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select s.id, s.expires_at, u.id, u.email, u.full_name, u.is_admin
  from app_private.sessions as s
  join app_public.users as u on u.id = s.user_id
  where s.id = describe_session.session_id
$$;

comment on function app_private.describe_session(uuid) is 'What the API needs to answer with a session; null if it does not exist.';
--! EndIncluded identity/describe_session.sql
--! Included identity/end_sessions.sql
create or replace function app_private.end_sessions(user_id uuid) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- Two calls at once take their locks in the same order.
  delete from app_private.sessions as s
  where s.id in (
    select o.id from app_private.sessions as o
    where o.user_id = end_sessions.user_id
    order by o.id
    for update);
end
$$;

comment on function app_private.end_sessions(uuid) is 'Ends all sessions of a user. Their access tokens are refused within a second.';
--! EndIncluded identity/end_sessions.sql
--! Included identity/end_user_sessions.sql
create or replace function app_private.end_user_sessions() returns trigger
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform app_private.end_sessions(new.id);
  return null;
end
$$;

comment on function app_private.end_user_sessions() is 'Trigger: ends the sessions of a user that is locked, is deleted or is no longer an admin.';
--! EndIncluded identity/end_user_sessions.sql
--! Included identity/refresh_session.sql
create or replace function app_public.refresh_session(token_hash bytea, successor_hash bytea, address text)
  returns app_private.opened_session
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_session app_private.sessions;
  v_token app_private.refresh_tokens;
  v_now timestamptz;
begin
  select s.* into v_session
  from app_private.refresh_tokens as t
  join app_private.sessions as s on s.id = t.session_id
  where t.token_hash = refresh_session.token_hash
  for update of s;
  -- Read under the lock: another use of this token may have held it.
  v_now := clock_timestamp();
  select t.* into v_token
  from app_private.refresh_tokens as t
  where t.token_hash = refresh_session.token_hash and t.expires_at > v_now;
  if not found then
    return null;
  elsif v_token.used_at is null then
    v_session.expires_at := v_now + app_private.refresh_lifetime();
    update app_private.refresh_tokens as t set used_at = v_now where t.token_hash = v_token.token_hash;
    insert into app_private.refresh_tokens (token_hash, session_id, expires_at)
    values (refresh_session.successor_hash, v_session.id, v_session.expires_at);
    update app_private.sessions as s set expires_at = v_session.expires_at where s.id = v_session.id;
    return app_private.describe_session(v_session.id);
  end if;
  -- The client may have lost the response. It gets the same successor again.
  perform from app_private.refresh_tokens as t
  where t.token_hash = refresh_session.successor_hash and t.session_id = v_session.id and t.used_at is null
    and v_now < v_token.used_at + interval '10 seconds';
  if found then
    return app_private.describe_session(v_session.id);
  end if;
  perform app_private.write_audit_log(
    'REUSE_REFRESH_TOKEN', 'users', v_session.user_id, null, jsonb_build_object('sessionId', v_session.id),
    case when address ~ '[.:]' then address::inet end);
  delete from app_private.sessions as s where s.id = v_session.id;
  -- Not an exception, which would bring the session back.
  return null;
end
$$;

comment on function app_public.refresh_session(bytea, bytea, text) is 'Uses a refresh token: stores its successor, which the API derives from it, and returns the session; nulls if the token is unknown or has expired. Within 10 seconds, and while the successor is unused, a second use returns the same again. Any other second use ends the session, records REUSE_REFRESH_TOKEN and returns nulls. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.refresh_session(bytea, bytea, text) to forecourt_authenticator;
--! EndIncluded identity/refresh_session.sql
--! Included identity/remove_ended_sessions.sql
create or replace function app_private.remove_ended_sessions(batch_size integer default 10000) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_tokens integer;
  v_sessions integer;
begin
  delete from app_private.revoked_sessions as r where r.revoked_at < v_now - app_private.revocation_lifetime();
  delete from app_private.sessions as s
  where s.id in (
    select o.id from app_private.sessions as o where o.expires_at < v_now
    limit remove_ended_sessions.batch_size for update skip locked);
  get diagnostics v_sessions = row_count;
  delete from app_private.refresh_tokens as t
  where t.token_hash in (
    select o.token_hash from app_private.refresh_tokens as o where o.expires_at < v_now
    limit remove_ended_sessions.batch_size for update skip locked);
  get diagnostics v_tokens = row_count;
  return v_sessions + v_tokens;
end
$$;

comment on function app_private.remove_ended_sessions(integer) is 'Removes up to `batch_size` sessions that nobody refreshed in time, as many expired refresh tokens, and revocations without effect. Returns how many sessions and tokens; 0 means done. Call it in a loop, each call in a transaction of its own.';
--! EndIncluded identity/remove_ended_sessions.sql
--! Included identity/logout.sql
create or replace function app_public.logout(session_id uuid, everywhere boolean) returns boolean
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_user_id constant uuid := app_private.require_user();
begin
  if logout.everywhere then
    perform app_private.end_sessions(v_user_id);
  else
    delete from app_private.sessions as s where s.id = logout.session_id and s.user_id = v_user_id;
  end if;
  return true;
end
$$;

comment on function app_public.logout(uuid, boolean) is 'Ends a session of the current user, or all with `everywhere`. Another user''s session is left alone. Not a field of GraphQL: the mutation `logout` calls it, with the session of the access token.';

grant execute on function app_public.logout(uuid, boolean) to forecourt_dealer, forecourt_admin;
--! EndIncluded identity/logout.sql
--! Included admin/require_reason.sql
create or replace function app_private.require_reason(reason text) returns text
  language plpgsql immutable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_reason constant text := app_private.to_nfc(btrim(replace(reason, E'\r\n', E'\n')));
begin
  if (app_private.is_text(v_reason, 1000) and v_reason ~ ('[^' || app_private.invisible_characters() || ']')) is not true then
    raise exception using
      errcode = 'FC010',
      message = 'Please give a reason of 1 to 1,000 characters. It is kept in the audit trail.',
      detail = jsonb_build_object('field', 'reason')::text;
  end if;
  return v_reason;
end
$$;

comment on function app_private.require_reason(text) is 'Returns the reason of an admin as it is stored. Raises FC010 if it is null, has no visible character, is longer than 1,000 characters, or has control characters.';
--! EndIncluded admin/require_reason.sql
--! Included identity/lock_user_row.sql
create or replace function app_private.lock_user_row(user_id uuid) returns app_public.users
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_user app_public.users;
begin
  select u.* into v_user from app_public.users as u where u.id = lock_user_row.user_id for no key update;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no user with this id. Please check it.',
      detail = jsonb_build_object('field', 'userId')::text;
  end if;
  return v_user;
end
$$;

comment on function app_private.lock_user_row(uuid) is 'Locks the row of a user and returns it. Raises FC004 if there is no such user.';
--! EndIncluded identity/lock_user_row.sql
--! Included identity/lock_user.sql
create or replace function app_private.lock_user(user_id uuid, reason text) returns app_public.users
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_reason constant text := app_private.require_reason(lock_user.reason);
  v_user app_public.users := app_private.lock_user_row(lock_user.user_id);
begin
  if v_user.locked_at is null then
    update app_public.users as u set locked_at = clock_timestamp() where u.id = v_user.id returning u.* into v_user;
    perform app_private.write_audit_log(
      'LOCK_USER', 'users', v_user.id, jsonb_build_object('lockedAt', null),
      jsonb_build_object('lockedAt', v_user.locked_at, 'reason', v_reason));
  end if;
  return v_user;
end
$$;

comment on function app_private.lock_user(uuid, text) is 'Locks an account: it can no longer log in, and the trigger users_sessions_ended ends its sessions. Records LOCK_USER with the reason. A second call changes nothing. Raises FC004 if there is no such user, and what require_reason raises.';
--! EndIncluded identity/lock_user.sql
--! Included identity/unlock_user.sql
create or replace function app_private.unlock_user(user_id uuid, reason text) returns app_public.users
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_reason constant text := app_private.require_reason(unlock_user.reason);
  v_user app_public.users := app_private.lock_user_row(unlock_user.user_id);
begin
  if v_user.locked_at is not null then
    perform app_private.write_audit_log(
      'UNLOCK_USER', 'users', v_user.id, jsonb_build_object('lockedAt', v_user.locked_at),
      jsonb_build_object('lockedAt', null, 'reason', v_reason));
    update app_public.users as u set locked_at = null where u.id = v_user.id returning u.* into v_user;
  end if;
  return v_user;
end
$$;

comment on function app_private.unlock_user(uuid, text) is 'Unlocks an account, which can log in again. Records UNLOCK_USER with the reason. A second call changes nothing. Raises FC004 if there is no such user, and what require_reason raises.';
--! EndIncluded identity/unlock_user.sql
--! Included text/require_name.sql
create or replace function app_private.require_name(name text, field text) returns text
  language plpgsql immutable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- Not a constraint, which would refuse every change of a row that has such a name already.
  if name ~ '[\u202a-\u202e\u2066-\u2069]' then
    raise exception using
      errcode = 'FC010',
      message = 'Please enter the name without invisible characters that change the direction of text.',
      detail = jsonb_build_object('field', field)::text;
  end if;
  return app_private.to_nfc(btrim(name));
end
$$;

comment on function app_private.require_name(text, text) is 'Returns the name of a user, a company, a package or an API key as it is stored: without surrounding blanks, in Unicode form NFC. Raises FC010 for bidirectional controls, which can make a mail or a page show other text. Joiners and direction marks are allowed, because languages need them.';
--! EndIncluded text/require_name.sql
--! Included identity/register_user.sql
create or replace function app_public.register_user(
  email text, full_name text, password_hash text,
  out user_id uuid, out normalized_email text, out trimmed_full_name text
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  insert into app_public.users as u (email, full_name)
  values (app_private.normalize_email(register_user.email), app_private.require_name(register_user.full_name, 'fullName'))
  on conflict on constraint users_email_key do nothing
  returning u.id, u.email, u.full_name into user_id, normalized_email, trimmed_full_name;
  if user_id is null then
    raise exception using
      errcode = 'FC008',
      message = 'This e-mail address is already registered. Please log in instead.',
      detail = jsonb_build_object('field', 'email')::text;
  end if;
  insert into app_private.user_passwords (user_id, password_hash)
  values (register_user.user_id, register_user.password_hash);
end
$$;

comment on function app_public.register_user(text, text, text) is 'Creates an account and returns it as stored. `password_hash` is Argon2id in PHC format. Raises FC008 if the e-mail address is already registered. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.register_user(text, text, text) to forecourt_authenticator;
--! EndIncluded identity/register_user.sql
--! Included identity/sign_up.sql
create or replace function app_public.sign_up(email text, full_name text, password_hash text, refresh_hash bytea)
  returns app_private.opened_session
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_user_id uuid;
begin
  select r.user_id into v_user_id
  from app_public.register_user(sign_up.email, sign_up.full_name, sign_up.password_hash) as r;
  return app_private.describe_session(app_private.open_session(v_user_id, sign_up.refresh_hash));
end
$$;

comment on function app_public.sign_up(text, text, text, bytea) is 'Creates an account as register_user does, which release 0.3 calls itself, and opens a session. `refresh_hash` is the SHA-256 of the first refresh token. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.sign_up(text, text, text, bytea) to forecourt_authenticator;
--! EndIncluded identity/sign_up.sql
--! Included identity/complete_login.sql
create or replace function app_public.complete_login(
  email text, address text, counted_under bytea, max_count integer, password_hash text
) returns boolean
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_email constant text := app_private.normalize_email(complete_login.email);
begin
  -- A change of the password waits for this lock, and then ends the session that this login opens.
  perform from app_public.users as u
  join app_private.user_passwords as p on p.user_id = u.id
  where u.email = v_email and p.password_hash = complete_login.password_hash
  for share of u, p;
  if found then
    update app_private.login_failures as f set failures = f.failures - 1
    where f.email_hash = complete_login.counted_under and f.failures > 0;
    insert into app_private.known_addresses as k (account_key, address, last_login_at)
    values (app_private.account_key(v_email), complete_login.address, clock_timestamp())
    on conflict on constraint known_addresses_pkey do update set last_login_at = excluded.last_login_at;
    return true;
  end if;
  perform from app_private.login_failures as f
  where f.email_hash = complete_login.counted_under and f.failures <= complete_login.max_count;
  if found then
    perform app_private.audit_login('LOGIN_FAILED', v_email, complete_login.address);
  end if;
  return false;
end
$$;

comment on function app_public.complete_login(text, text, bytea, integer, text) is 'Compares the hash that the API has computed with the stored one, which never leaves the database, and returns whether they are equal. If so, it takes back the failure that begin_login counted, and remembers the address. If not, it records LOGIN_FAILED, the same way for an account that does not exist, and at most as often per window as the limit auth_account allows, so that nobody can flood the audit trail. `counted_under` and `max_count` are those of begin_login. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.complete_login(text, text, bytea, integer, text) to forecourt_authenticator;
--! EndIncluded identity/complete_login.sql
--! Included identity/log_in.sql
create or replace function app_public.log_in(
  email text, address text, counted_under bytea, max_count integer, password_hash text, refresh_hash bytea
) returns app_private.opened_session
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_session_id uuid;
begin
  if app_public.complete_login(email, address, counted_under, max_count, password_hash) then
    select app_private.open_session(u.id, log_in.refresh_hash) into v_session_id
    from app_public.users as u where u.email = app_private.normalize_email(log_in.email);
  end if;
  return app_private.describe_session(v_session_id);
end
$$;

comment on function app_public.log_in(text, text, bytea, integer, text, bytea) is 'Compares the hash as complete_login does, which release 0.3 calls itself, and opens a session if it is equal; otherwise returns nulls. `refresh_hash` is the SHA-256 of the first refresh token. Raises FC003 if the account is locked. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.log_in(text, text, bytea, integer, text, bytea) to forecourt_authenticator;
--! EndIncluded identity/log_in.sql

create or replace trigger sessions_revoked after delete on app_private.sessions
  referencing old table as ended for each statement execute function app_private.revoke_sessions();
create or replace trigger sessions_never_truncated before truncate on app_private.sessions
  for each statement execute function app_private.refuse_change();
create or replace trigger users_sessions_ended after update of is_admin, locked_at, deleted_at on app_public.users
  for each row when (old.is_admin and not new.is_admin or old.locked_at is null and new.locked_at is not null
    or old.deleted_at is null and new.deleted_at is not null)
  execute function app_private.end_user_sessions();

insert into app_public.rate_limit_policies (scope, subject, fields, max_count, window_seconds)
values ('auth_refresh', 'ip', '{Mutation.refreshSession}', 200, 900)
on conflict (scope) do nothing;
