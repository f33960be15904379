--! Previous: sha1:ab194e8a797f851d3106f642df096b553c71eaf1
--! Hash: sha1:483b6b3b2938146ef00e4aa8fb735cd7e67d9b5b
--! Message: one time tokens

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- The foreign key locks the table.
select app_private.lock_tables('app_public.users');
create table if not exists app_private.one_time_tokens (
  token_hash bytea not null primary key constraint one_time_tokens_token_hash_length check (octet_length(token_hash) = 32),
  kind text not null constraint one_time_tokens_kind_known check (kind in ('password_reset', 'email_verification')),
  user_id uuid references app_public.users,
  holder uuid not null,
  email text not null constraint one_time_tokens_email_form check (app_private.is_email(email)),
  expires_at timestamptz not null,
  used_at timestamptz,
  constraint one_time_tokens_one_of_a_kind unique (holder, kind)
);
comment on table app_private.one_time_tokens is 'The tokens of mails that reset a password or verify an address. A user has one of each kind: a new one replaces the last one.';
comment on column app_private.one_time_tokens.token_hash is 'SHA-256 of the token, which is 32 random bytes.';
comment on column app_private.one_time_tokens.kind is 'What the token does.';
comment on column app_private.one_time_tokens.user_id is 'The user; null if no account has the e-mail address.';
comment on column app_private.one_time_tokens.holder is 'The user, or a hash of the e-mail address if no account has it: requests for different addresses never wait for each other.';
comment on column app_private.one_time_tokens.email is 'The address to which the token was sent.';
comment on column app_private.one_time_tokens.expires_at is 'The token cannot be used from then on, and the row is removed soon after.';
comment on column app_private.one_time_tokens.used_at is 'When the token was used; null: not yet. It works once.';
create index if not exists ix_one_time_tokens_expires_at on app_private.one_time_tokens (expires_at);
select app_private.force_row_security('app_private.one_time_tokens');

comment on column app_private.mails.expires_at is 'When the mail, and the token in it, loses its value. A mail that was not sent until then is removed unsent.';

insert into app_public.rate_limit_policies (scope, subject, fields, max_count, window_seconds, fallback) values
  ('auth_recovery', 'ip', '{Mutation.requestPasswordReset,Mutation.resetPassword,Mutation.verifyEmail}', 20, 900, 'local'),
  ('account_change', 'user', '{Mutation.changePassword,Mutation.changeEmail}', 10, 3600, 'local'),
  ('auth_mail', 'account', '{}', 3, 3600, 'refuse')
on conflict (scope) do nothing;

-- No text that a stranger has entered, such as a name: an address can be registered by somebody else.
insert into app_private.mail_templates (kind, locale, subject, body) values
  ('email_verification', 'en', 'Please confirm your e-mail address', 'Hello,

an account was created on Forecourt with this e-mail address. Please confirm it with this code:

{token}

The code works once, until {expiresAt}. Only the code of the newest mail works.

If you know nothing about this account, please ignore this mail.
'),
  ('email_verification', 'de', 'Bitte bestätigen Sie Ihre E-Mail-Adresse', 'Guten Tag,

mit dieser E-Mail-Adresse wurde bei Forecourt ein Konto angelegt. Bitte bestätigen Sie die Adresse mit diesem Code:

{token}

Der Code ist bis zum {expiresAt} gültig und kann nur einmal verwendet werden. Es gilt nur der Code aus der neuesten E-Mail.

Wenn Sie nichts von diesem Konto wissen, ignorieren Sie diese E-Mail bitte.
'),
  ('email_change', 'en', 'Please confirm your new e-mail address', 'Hello,

somebody asked to use this e-mail address for an account. Please confirm it with this code:

{token}

The code works once, until {expiresAt}. Only the code of the newest mail works.

If you did not ask for this, please ignore this mail. Nothing will change.
'),
  ('email_change', 'de', 'Bitte bestätigen Sie Ihre neue E-Mail-Adresse', 'Guten Tag,

ein Konto soll künftig diese E-Mail-Adresse verwenden. Bitte bestätigen Sie die Adresse mit diesem Code:

{token}

Der Code ist bis zum {expiresAt} gültig und kann nur einmal verwendet werden. Es gilt nur der Code aus der neuesten E-Mail.

Wenn Sie das nicht gewünscht haben, ignorieren Sie diese E-Mail bitte. Es ändert sich nichts.
'),
  ('email_change_notice', 'en', 'Your e-mail address is about to change', 'Hello,

somebody who knows your password asked to change the e-mail address of your account to {newEmail}.

It changes when the new address is confirmed. If it was not you, please change your password now.
'),
  ('email_change_notice', 'de', 'Ihre E-Mail-Adresse soll geändert werden', 'Guten Tag,

jemand hat mit Ihrem Passwort für Ihr Konto eine andere E-Mail-Adresse angegeben: {newEmail}

Die neue Adresse gilt, sobald sie bestätigt ist. Wenn Sie das nicht waren, ändern Sie bitte jetzt Ihr Passwort.
'),
  ('email_taken', 'en', 'You have an account with this e-mail address', 'Hello,

somebody asked to use this e-mail address for another account. Your account already has it, so nothing changes.

If it was you, please log in with this address. Otherwise please ignore this mail.
'),
  ('email_taken', 'de', 'Sie haben ein Konto mit dieser E-Mail-Adresse', 'Guten Tag,

jemand wollte diese E-Mail-Adresse für ein anderes Konto verwenden. Ihr Konto hat sie bereits, deshalb ändert sich nichts.

Wenn Sie das waren, melden Sie sich bitte mit dieser Adresse an. Sonst ignorieren Sie diese E-Mail bitte.
'),
  ('password_reset', 'en', 'Set a new password', 'Hello,

with this code you can set a new password for your account:

{token}

The code works once, until {expiresAt}. Only the code of the newest mail works.

If you did not ask for this, please ignore this mail. Your password stays as it is.
'),
  ('password_reset', 'de', 'Neues Passwort festlegen', 'Guten Tag,

mit diesem Code können Sie ein neues Passwort für Ihr Konto festlegen:

{token}

Der Code ist bis zum {expiresAt} gültig und kann nur einmal verwendet werden. Es gilt nur der Code aus der neuesten E-Mail.

Wenn Sie das nicht gewünscht haben, ignorieren Sie diese E-Mail bitte. Ihr Passwort bleibt, wie es ist.
'),
  ('password_changed', 'en', 'Your password was changed', 'Hello,

the password of your account was changed, and all devices were logged out.

If it was not you, please ask for a new password now.
'),
  ('password_changed', 'de', 'Ihr Passwort wurde geändert', 'Guten Tag,

das Passwort Ihres Kontos wurde geändert, und alle Geräte wurden abgemeldet.

Wenn Sie das nicht waren, fordern Sie bitte jetzt ein neues Passwort an.
')
on conflict do nothing;

--! Included mail/queue_mail.sql
create or replace function app_private.queue_mail(
  kind text, recipient text, locale text, parameters jsonb default '{}', sealed_token bytea default null, expires_at timestamptz default null
) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_id uuid;
begin
  insert into app_private.mails (kind, recipient, locale, parameters, sealed_token, expires_at)
  values (queue_mail.kind, queue_mail.recipient, queue_mail.locale, queue_mail.parameters, queue_mail.sealed_token, queue_mail.expires_at)
  returning id into v_id;
  -- After all other jobs: each attempt takes 10 s while the mail server is silent. A serial queue would send one mail a second.
  perform graphile_worker.add_job(
    'send_mail', json_build_object('id', v_id), job_key := 'send_mail:' || v_id, max_attempts := 25, priority := 10);
end
$$;

comment on function app_private.queue_mail(text, text, text, jsonb, bytea, timestamptz) is 'Writes a mail to the outbox; the worker sends it after this transaction has committed. The text is the row of app_private.mail_templates with this kind and locale, in which {name} stands for a member of `parameters`, {token} for the token, and {expiresAt} for its end. `sealed_token` is the token as the API has encrypted it, so that the database never contains it in clear. A mail that has expired is not sent.';
--! EndIncluded mail/queue_mail.sql
--! Included identity/require_account.sql
create or replace function app_private.require_account(user_id uuid) returns app_public.users
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_user app_public.users;
begin
  select u.* into v_user from app_public.users as u
  where u.id = require_account.user_id and u.locked_at is null and u.deleted_at is null for no key update;
  if not found then
    raise exception using
      errcode = 'FC001',
      message = 'This account no longer exists or is locked. Please log in with another one.';
  end if;
  return v_user;
end
$$;

comment on function app_private.require_account(uuid) is 'Locks and returns the user. Raises FC001 if there is none, or if it is locked or deleted.';
--! EndIncluded identity/require_account.sql
--! Included identity/take_mail_limit.sql
create or replace function app_private.take_mail_limit(
  email text, out account_key bytea, out max_count integer, out over_limit boolean, out retry_after_seconds integer
)
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_policy app_public.rate_limit_policies;
  v_outcome app_private.rate_limit_outcome;
begin
  -- STRICT: without its policy no mail is sent, rather than any number.
  select p.* into strict v_policy from app_public.rate_limit_policies as p where p.scope = 'auth_mail';
  max_count := v_policy.max_count;
  -- No client address reads like this, so the key is that of no counter of failed logins.
  account_key := app_private.account_key(take_mail_limit.email, 'auth_mail');
  over_limit := false;
  if v_policy.mode <> 'off' then
    v_outcome := app_public.take_rate_limit(
      account_key, case when v_policy.mode = 'enforce' then max_count else 'Infinity'::double precision end,
      v_policy.window_seconds, v_policy.cost);
    retry_after_seconds := v_outcome.retry_after;
    over_limit := retry_after_seconds is not null or v_outcome.used > max_count;
  end if;
end
$$;

comment on function app_private.take_mail_limit(text) is 'Counts a mail that somebody asks for against the limit auth_mail of the address, whether an account has it or not. retry_after_seconds is set when the mail is refused. over_limit says that the limit is exceeded, also by a policy in shadow mode, which refuses nobody.';
--! EndIncluded identity/take_mail_limit.sql
--! Included identity/issue_token.sql
create or replace function app_private.issue_token(kind text, user_id uuid, email text, token_hash bytea, lifetime interval)
  returns timestamptz
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_expires_at constant timestamptz := clock_timestamp() + lifetime;
begin
  insert into app_private.one_time_tokens (token_hash, kind, user_id, holder, email, expires_at)
  values (
    issue_token.token_hash, issue_token.kind, issue_token.user_id, coalesce(issue_token.user_id, md5(issue_token.email)::uuid),
    issue_token.email, v_expires_at)
  on conflict on constraint one_time_tokens_one_of_a_kind do update
  set token_hash = excluded.token_hash, email = excluded.email, expires_at = excluded.expires_at, used_at = null;
  return v_expires_at;
end
$$;

comment on function app_private.issue_token(text, uuid, text, bytea, interval) is 'Stores the hash of a new token, which replaces the last one of this kind of the user, and returns when it ends. Without a user the token cannot be used; it is written so that an unknown address causes the same work.';
--! EndIncluded identity/issue_token.sql
--! Included identity/live_token.sql
create or replace function app_private.live_token(kind text, token_hash bytea) returns app_private.one_time_tokens
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_token app_private.one_time_tokens;
begin
  select t.* into v_token
  from app_private.one_time_tokens as t
  join app_public.users as u on u.id = t.user_id and u.locked_at is null and u.deleted_at is null
  where t.token_hash = live_token.token_hash and t.kind = live_token.kind
    and t.used_at is null and t.expires_at > clock_timestamp()
    -- The mailbox of an address that the account had before must not open it.
    and (t.kind <> 'password_reset' or t.email = u.email);
  if not found then
    raise exception using
      errcode = 'FC010',
      message = 'This token is unknown, was used already or has expired. Please ask for a new mail.',
      detail = jsonb_build_object('field', 'token')::text;
  end if;
  return v_token;
end
$$;

comment on function app_private.live_token(text, bytea) is 'Returns the token with this hash and kind, if it can be used now. Raises FC010 for a token that is unknown, of another kind, used, replaced or expired, and for that of a locked or deleted user.';
--! EndIncluded identity/live_token.sql
--! Included identity/use_token.sql
create or replace function app_private.use_token(kind text, token_hash bytea) returns app_private.one_time_tokens
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_token app_private.one_time_tokens;
begin
  -- The lock makes requests with the same token wait for each other: the second one finds it used.
  perform from app_public.users as u
  join app_private.one_time_tokens as t on t.user_id = u.id
  where t.token_hash = use_token.token_hash
  for no key update of u;
  v_token := app_private.live_token(use_token.kind, use_token.token_hash);
  update app_private.one_time_tokens as t set used_at = clock_timestamp() where t.token_hash = v_token.token_hash;
  return v_token;
end
$$;

comment on function app_private.use_token(text, bytea) is 'Uses a token once: locks its user, and marks the token. Raises FC010 as live_token does.';
--! EndIncluded identity/use_token.sql
--! Included identity/forget_failed_logins.sql
create or replace function app_private.forget_failed_logins(email text) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_key constant bytea := app_private.account_key(forget_failed_logins.email);
begin
  delete from app_private.login_failures as f
  where f.email_hash = v_key
    or f.email_hash in (
      select app_private.account_key(forget_failed_logins.email, k.address)
      from app_private.known_addresses as k where k.account_key = v_key);
end
$$;

comment on function app_private.forget_failed_logins(text) is 'Lifts the limit auth_account of a normalised e-mail address, also for the known client addresses of its account.';
--! EndIncluded identity/forget_failed_logins.sql
--! Included identity/confirm_email.sql
create or replace function app_private.confirm_email(user_id uuid, email text) returns app_public.users
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_before app_public.users;
  v_user app_public.users;
begin
  select u.* into v_before from app_public.users as u where u.id = confirm_email.user_id for no key update;
  update app_public.users as u
  set email = confirm_email.email,
    email_verified_at = case when u.email = confirm_email.email then coalesce(u.email_verified_at, clock_timestamp()) else clock_timestamp() end
  where u.id = confirm_email.user_id
  returning u.* into v_user;
  if v_before.email <> v_user.email then
    perform app_private.forget_failed_logins(v_before.email);
    delete from app_private.known_addresses as k where k.account_key = app_private.account_key(v_before.email);
  end if;
  if v_before.email_verified_at is null then
    update app_public.dealers as d set has_free_quota = true
    from app_private.dealer_creations as c
    where c.user_id = confirm_email.user_id and c.number = 1 and d.id = c.created_id and not d.has_free_quota;
  end if;
  return v_user;
exception when unique_violation then
  raise exception using
    errcode = 'FC008',
    message = 'Another account has this e-mail address by now. Please choose another one.',
    detail = jsonb_build_object('field', 'email')::text;
end
$$;

comment on function app_private.confirm_email(uuid, text) is 'Records that the user reads the mail of this address, which becomes its own, and returns the user. The first time, the first dealer of the account gets its free listings. Raises FC008 if another account has the address.';
--! EndIncluded identity/confirm_email.sql
--! Included identity/set_password.sql
create or replace function app_private.set_password(user_id uuid, password_hash text, refresh_hash bytea) returns uuid
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  update app_private.user_passwords as p set password_hash = set_password.password_hash, updated_at = clock_timestamp()
  where p.user_id = set_password.user_id;
  -- Also a change of the address: whoever knew the old password may have asked for it.
  update app_private.one_time_tokens as t set used_at = clock_timestamp()
  from app_public.users as u
  where u.id = set_password.user_id and t.user_id = u.id and t.used_at is null and (t.kind = 'password_reset' or t.email <> u.email);
  -- Not to an address that nobody has verified: it may be that of a stranger.
  perform app_private.queue_mail('password_changed', u.email, u.locale)
  from app_public.users as u where u.id = set_password.user_id and u.email_verified_at is not null;
  perform app_private.end_sessions(set_password.user_id);
  return app_private.open_session(set_password.user_id, set_password.refresh_hash);
end
$$;

comment on function app_private.set_password(uuid, text, bytea) is 'Sets the password of a user, ends all of its sessions, its open reset and its open change of the address, tells it by mail, and returns a new session.';
--! EndIncluded identity/set_password.sql
--! Included identity/send_verification.sql
create or replace function app_private.send_verification(account app_public.users, kind text, email text, token_hash bytea, sealed_token bytea) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform app_private.queue_mail(
    send_verification.kind, send_verification.email, account.locale, '{}', sealed_token,
    app_private.issue_token('email_verification', account.id, send_verification.email, token_hash, interval '48 hours'));
end
$$;

comment on function app_private.send_verification(app_public.users, text, text, bytea, bytea) is 'Sends the user a token that verifies the address within 48 hours.';
--! EndIncluded identity/send_verification.sql
--! Included identity/complete_registration.sql
create or replace function app_public.complete_registration(user_id uuid, locale text, token_hash bytea, sealed_token bytea) returns void
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_user app_public.users;
begin
  update app_public.users as u set locale = coalesce(complete_registration.locale, u.locale)
  where u.id = complete_registration.user_id
  returning u.* into v_user;
  perform app_private.send_verification(v_user, 'email_verification', v_user.email, token_hash, sealed_token);
end
$$;

comment on function app_public.complete_registration(uuid, text, bytea, bytea) is 'Sets the language of an account that register_user has just made, and sends the mail that verifies its address. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.complete_registration(uuid, text, bytea, bytea) to forecourt_authenticator;
--! EndIncluded identity/complete_registration.sql
--! Included identity/request_email_verification.sql
create or replace function app_public.request_email_verification(
  user_id uuid, token_hash bytea, sealed_token bytea,
  out account_key bytea, out max_count integer, out over_limit boolean, out retry_after_seconds integer
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_user constant app_public.users := app_private.require_account(request_email_verification.user_id);
begin
  select l.* into account_key, max_count, over_limit, retry_after_seconds from app_private.take_mail_limit(v_user.email) as l;
  if retry_after_seconds is null then
    perform app_private.send_verification(v_user, 'email_verification', v_user.email, token_hash, sealed_token);
  end if;
end
$$;

comment on function app_public.request_email_verification(uuid, bytea, bytea) is 'Sends a mail that verifies the address of the user. retry_after_seconds is set when the limit auth_mail refuses it. Raises FC001 without such a user. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.request_email_verification(uuid, bytea, bytea) to forecourt_authenticator;
--! EndIncluded identity/request_email_verification.sql
--! Included identity/verify_email.sql
create or replace function app_public.verify_email(
  token_hash bytea, out user_id uuid, out normalized_email text, out full_name text, out email_verified_at timestamptz
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_token constant app_private.one_time_tokens := app_private.use_token('email_verification', token_hash);
  v_user constant app_public.users := app_private.confirm_email(v_token.user_id, v_token.email);
begin
  user_id := v_user.id;
  normalized_email := v_user.email;
  full_name := v_user.full_name;
  email_verified_at := v_user.email_verified_at;
end
$$;

comment on function app_public.verify_email(bytea) is 'Uses a token of register, request_email_verification or change_email: the address to which it was sent becomes the verified address of the user. Raises FC010 for a token that cannot be used, FC008 if another account has the address by now. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.verify_email(bytea) to forecourt_authenticator;
--! EndIncluded identity/verify_email.sql
--! Included identity/request_password_reset.sql
create or replace function app_public.request_password_reset(
  email text, token_hash bytea, sealed_token bytea,
  out account_key bytea, out max_count integer, out over_limit boolean, out retry_after_seconds integer
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_email constant text := app_private.normalize_email(request_password_reset.email);
  v_user app_public.users;
  v_expires_at timestamptz;
begin
  select l.* into account_key, max_count, over_limit, retry_after_seconds from app_private.take_mail_limit(v_email) as l;
  if retry_after_seconds is not null then
    return;
  end if;
  select u.* into v_user from app_public.users as u where u.email = v_email and u.locked_at is null and u.deleted_at is null;
  v_expires_at := app_private.issue_token('password_reset', v_user.id, v_email, token_hash, interval '1 hour');
  -- The same work for an unknown address, so that the time of the response tells nothing. The worker drops the expired mail.
  perform app_private.queue_mail(
    'password_reset', v_email, coalesce(v_user.locale, 'en'), '{}', sealed_token,
    case when v_user.id is null then clock_timestamp() else v_expires_at end);
end
$$;

comment on function app_public.request_password_reset(text, bytea, bytea) is 'Sends a token that sets a new password within an hour, if an account has the address. The result and the work are the same if none has it. retry_after_seconds is set when the limit auth_mail refuses the mail. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.request_password_reset(text, bytea, bytea) to forecourt_authenticator;
--! EndIncluded identity/request_password_reset.sql
--! Included identity/begin_password_reset.sql
create or replace function app_public.begin_password_reset(token_hash bytea) returns text
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return (app_private.live_token('password_reset', token_hash)).email;
end
$$;

comment on function app_public.begin_password_reset(bytea) is 'Returns the e-mail address of the account that the token resets, for the rules of passwords. Raises FC010 for a token that cannot be used. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.begin_password_reset(bytea) to forecourt_authenticator;
--! EndIncluded identity/begin_password_reset.sql
--! Included identity/complete_password_reset.sql
create or replace function app_public.complete_password_reset(
  token_hash bytea, password_hash text, refresh_hash bytea,
  out user_id uuid, out email text, out full_name text, out is_admin boolean,
  out session_id uuid, out refresh_expires_at timestamptz
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_token constant app_private.one_time_tokens := app_private.use_token('password_reset', token_hash);
  v_user constant app_public.users := app_private.confirm_email(v_token.user_id, v_token.email);
begin
  perform app_private.forget_failed_logins(v_user.email);
  refresh_expires_at := clock_timestamp() + app_private.refresh_lifetime();
  session_id := app_private.set_password(v_user.id, complete_password_reset.password_hash, refresh_hash);
  user_id := v_user.id;
  email := v_user.email;
  full_name := v_user.full_name;
  is_admin := v_user.is_admin;
end
$$;

comment on function app_public.complete_password_reset(bytea, text, bytea) is 'Uses a token of request_password_reset: sets the password, ends all sessions, lifts the limit of failed logins, and opens a session. The token came by mail, so the address counts as verified too. Raises FC010 for a token that cannot be used. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.complete_password_reset(bytea, text, bytea) to forecourt_authenticator;
--! EndIncluded identity/complete_password_reset.sql
--! Included identity/begin_password_check.sql
create or replace function app_public.begin_password_check(
  user_id uuid, address text, out normalized_email text, out password_parameters text,
  out account_key bytea, out max_count integer, out over_limit boolean, out retry_after_seconds integer
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
begin
  normalized_email := (app_private.require_account(begin_password_check.user_id)).email;
  select b.password_parameters, b.account_key, b.max_count, b.over_limit, b.retry_after_seconds
  into begin_password_check.password_parameters, begin_password_check.account_key, begin_password_check.max_count,
    begin_password_check.over_limit, begin_password_check.retry_after_seconds
  from app_public.begin_login(normalized_email, begin_password_check.address) as b;
end
$$;

comment on function app_public.begin_password_check(uuid, text) is 'begin_login for a user who is logged in and enters the password again. A wrong one counts as a failed login of the account. Raises FC001 without such a user. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.begin_password_check(uuid, text) to forecourt_authenticator;
--! EndIncluded identity/begin_password_check.sql
--! Included identity/change_password.sql
create or replace function app_public.change_password(
  user_id uuid, address text, counted_under bytea, max_failures integer, current_hash text, password_hash text, refresh_hash bytea,
  out email text, out full_name text, out is_admin boolean,
  out session_id uuid, out refresh_expires_at timestamptz
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_user constant app_public.users := app_private.require_account(change_password.user_id);
begin
  if app_public.complete_login(v_user.email, address, counted_under, max_failures, current_hash) then
    refresh_expires_at := clock_timestamp() + app_private.refresh_lifetime();
    session_id := app_private.set_password(v_user.id, change_password.password_hash, refresh_hash);
    email := v_user.email;
    full_name := v_user.full_name;
    is_admin := v_user.is_admin;
  end if;
end
$$;

comment on function app_public.change_password(uuid, text, bytea, integer, text, text, bytea) is 'Sets another password, ends all sessions and opens a new one. All results are null if `current_hash` is wrong. `counted_under` and `max_failures` are those of begin_password_check. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.change_password(uuid, text, bytea, integer, text, text, bytea) to forecourt_authenticator;
--! EndIncluded identity/change_password.sql
--! Included identity/change_email.sql
create or replace function app_public.change_email(
  user_id uuid, address text, counted_under bytea, max_failures integer, password_hash text,
  new_email text, token_hash bytea, sealed_token bytea,
  out password_matches boolean, out account_key bytea, out max_count integer, out over_limit boolean, out retry_after_seconds integer
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_user constant app_public.users := app_private.require_account(change_email.user_id);
  v_email constant text := app_private.normalize_email(new_email);
  v_recipient app_public.users := v_user;
  v_is_taken boolean;
begin
  password_matches := app_public.complete_login(v_user.email, address, counted_under, max_failures, change_email.password_hash);
  if not password_matches then
    return;
  end if;
  select l.* into account_key, max_count, over_limit, retry_after_seconds from app_private.take_mail_limit(v_email) as l;
  if retry_after_seconds is not null then
    return;
  end if;
  select u.locale into v_recipient.locale from app_public.users as u where u.email = v_email and u.id <> v_user.id;
  v_is_taken := found;
  v_recipient.locale := coalesce(v_recipient.locale, v_user.locale);
  -- The same work for an address that another account has. Its mail has no token, so nobody knows this one.
  perform app_private.send_verification(
    v_recipient, case when v_is_taken then 'email_taken' else 'email_change' end, v_email, token_hash,
    case when not v_is_taken then sealed_token end);
  if v_user.email_verified_at is not null then
    perform app_private.queue_mail('email_change_notice', v_user.email, v_user.locale, jsonb_build_object('newEmail', v_email));
  end if;
end
$$;

comment on function app_public.change_email(uuid, text, bytea, integer, text, text, bytea, bytea) is 'Sends a token to the new address, which verify_email turns into the address of the user, and a notice to the old one, if it is verified. The result and the work are the same if another account has the new address: that account gets a notice without a token. password_matches is false if `password_hash` is wrong; `counted_under` and `max_failures` are those of begin_password_check. retry_after_seconds is set when the limit auth_mail refuses the mail. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.change_email(uuid, text, bytea, integer, text, text, bytea, bytea) to forecourt_authenticator;
--! EndIncluded identity/change_email.sql
--! Included identity/update_profile.sql
create or replace function app_public.update_profile(full_name text default null, locale text default null) returns app_public.users
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_user app_public.users := app_private.require_account(app_private.require_user());
begin
  update app_public.users as u
  set full_name = coalesce(app_private.require_name(update_profile.full_name, 'fullName'), u.full_name),
    locale = coalesce(update_profile.locale, u.locale)
  where u.id = v_user.id;
  -- Without the columns that nobody may read.
  select c.* into v_user from app_public.get_current_user() as c;
  return v_user;
end
$$;

comment on function app_public.update_profile(text, text) is E'@behavior +mutationField\n@resultFieldName user\nChanges the name of the caller and the language of its mails: `en` or `de`. What is not given stays.';

grant execute on function app_public.update_profile(text, text) to forecourt_dealer, forecourt_admin;
--! EndIncluded identity/update_profile.sql
--! Included identity/create_dealer.sql
create or replace function app_public.create_dealer(
  company_name text, country text, dealer_type app_public.dealer_type, idempotency_key uuid default null
) returns app_public.dealers
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_payload_hash constant bytea := sha256(convert_to(jsonb_build_array(company_name, country, dealer_type)::text, 'UTF8'));
  v_user app_public.users;
  v_dealer app_public.dealers;
  v_number integer;
begin
  -- The lock makes the count exact. An access token can be valid longer than its user exists.
  v_user := app_private.require_account(app_private.require_user());
  v_dealer := app_private.replay_dealer(v_user.id, create_dealer.idempotency_key, v_payload_hash);
  if v_dealer.id is not null then
    return v_dealer;
  end if;
  select coalesce(max(c.number), 0) + 1 into v_number from app_private.dealer_creations as c where c.user_id = v_user.id;
  if v_number > v_user.dealer_limit then
    raise exception using
      errcode = 'FC008',
      message = format('This account has created %s dealers already, and may create no more. Please contact support.', v_number - 1),
      detail = jsonb_build_object('dealerLimit', v_user.dealer_limit)::text;
  end if;
  perform from app_public.country_currencies as cc where cc.country = create_dealer.country and cc.closed_at is null;
  if not found then
    raise exception using
      errcode = 'FC010',
      message = 'Forecourt is not available in this country. Please enter a country that is open as two capital letters, such as DE.',
      detail = jsonb_build_object('field', 'country')::text;
  end if;
  insert into app_public.dealers (company_name, country, dealer_type, has_free_quota)
  values (app_private.require_name(create_dealer.company_name, 'companyName'), create_dealer.country, create_dealer.dealer_type, v_number = 1 and v_user.email_verified_at is not null)
  returning * into v_dealer;
  insert into app_public.dealer_users (dealer_id, user_id, role) values (v_dealer.id, v_user.id, 'owner');
  insert into app_private.dealer_creations (user_id, number, created_id, idempotency_key, payload_hash)
  values (v_user.id, v_number, v_dealer.id, create_dealer.idempotency_key, v_payload_hash);
  return v_dealer;
end
$$;

comment on function app_public.create_dealer(text, text, app_public.dealer_type, uuid) is E'@behavior +mutationField\n@resultFieldName dealer\nCreates a dealer in an open country and makes the caller its owner. An account creates at most five, and only the first has free listings, from the moment on at which the account has a verified e-mail address. The same idempotency key with the same input returns the same dealer.';

grant execute on function app_public.create_dealer(text, text, app_public.dealer_type, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded identity/create_dealer.sql
