--! Previous: sha1:16d09c4f134ce98eedcc3dd24e5bc2525bc8bd0e
--! Hash: sha1:5a4ee9a59f6dfa55ae7e7822edd24035b2d0ef71
--! Message: privacy

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- No row is rewritten: the defaults are constants.
select app_private.lock_tables('app_private.operation_settings');
alter table app_private.operation_settings
  add column if not exists mail_retention_days integer not null default 14
    constraint operation_settings_mail_retention_days_positive check (mail_retention_days > 0),
  add column if not exists invitation_retention_days integer not null default 90
    constraint operation_settings_invitation_retention_days_positive check (invitation_retention_days > 0);
comment on column app_private.operation_settings.mail_retention_days is 'How many days a mail to a user is kept in the outbox, sent or not.';
comment on column app_private.operation_settings.invitation_retention_days is 'How many days an invitation is kept after its end, accepted or not.';

insert into app_public.rate_limit_policies (scope, subject, fields, max_count, window_seconds)
values ('data_export', 'user', '{Mutation.exportMyData}', 10, 3600)
on conflict (scope) do nothing;

--! Included mail/maintain_mails.sql
create or replace function app_private.maintain_mails() returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_settings constant app_private.operation_settings := (select s from app_private.operation_settings as s);
  v_removed integer;
begin
  -- The pauses of graphile-worker grow to 6 hours, and it gives up in the end. A token in a mail may last for an hour only.
  perform graphile_worker.reschedule_jobs(
    array(
      select j.id from graphile_worker.jobs as j
      where j.task_identifier = 'send_mail' and j.locked_at is null and j.attempts > 5
        -- A mail that the server refuses for good is tried less and less often.
        and coalesce(j.last_error, '') !~ '(EENVELOPE|EMESSAGE) 5'),
    run_at := now(), attempts := 5);
  delete from app_private.one_time_tokens as t where t.expires_at < clock_timestamp();
  delete from app_public.dealer_invitations as i
  where i.expires_at < clock_timestamp() - v_settings.invitation_retention_days * interval '24 hours';
  delete from app_private.mails as m where m.created_at < clock_timestamp() - v_settings.mail_retention_days * interval '24 hours';
  get diagnostics v_removed = row_count;
  return v_removed;
end
$$;

comment on function app_private.maintain_mails() is 'Makes the mails due that were tried more than five times, removes mails that were asked for more than operation_settings.mail_retention_days ago, sent or not, removes invitations that ended more than invitation_retention_days ago, and removes expired tokens. Returns how many mails it removed.';
--! EndIncluded mail/maintain_mails.sql
--! Included member/require_other_owner.sql
create or replace function app_private.require_other_owner(dealer_id uuid, user_id uuid) returns void
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  if not app_private.has_owner(dealer_id, user_id) then
    raise exception using
      errcode = 'FC008',
      message = 'A dealer needs an owner. Please make another member an owner first.',
      detail = jsonb_build_object('field', 'userId')::text;
  end if;
end
$$;

comment on function app_private.require_other_owner(uuid, uuid) is 'Raises FC008 unless the dealer has another owner than this user. One whose account is locked or deleted does not count. The caller has locked the dealer.';
--! EndIncluded member/require_other_owner.sql
--! Included privacy/dealers_of_account.sql
create or replace function app_private.dealers_of_account(user_id uuid) returns uuid[]
  -- Volatile: delete_my_account calls it again once it has its locks.
  language sql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select array(
    select du.dealer_id from app_public.dealer_users as du where du.user_id = dealers_of_account.user_id
    union
    select i.dealer_id from app_public.dealer_invitations as i
    where i.created_by = dealers_of_account.user_id and i.accepted_at is null and i.revoked_at is null
    union
    select i.dealer_id from app_public.dealer_invitations as i
    join app_public.users as u on u.email = i.email
    where u.id = dealers_of_account.user_id
    order by 1)
$$;

comment on function app_private.dealers_of_account(uuid) is 'The dealers whose members and invitations the deletion of the account changes, in the order of ids.';
--! EndIncluded privacy/dealers_of_account.sql
--! Included privacy/lock_leaving_account.sql
create or replace function app_private.lock_leaving_account(user_id uuid) returns app_public.users
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer_ids constant uuid[] := app_private.dealers_of_account(lock_leaving_account.user_id);
  v_dealer_id uuid;
  v_user app_public.users;
begin
  foreach v_dealer_id in array v_dealer_ids loop
    perform app_private.lock_dealer(v_dealer_id);
  end loop;
  if app_public.is_admin() then
    -- All admins, in the order of ids: of two who leave at once, the second one sees that it is the last.
    perform from app_public.users as u where u.is_admin order by u.id for no key update;
  end if;
  v_user := app_private.require_account(lock_leaving_account.user_id);
  if not app_private.dealers_of_account(v_user.id) <@ v_dealer_ids then
    raise exception using
      errcode = '40001',
      message = 'The account became a member of another dealer, or was invited to one, while it waited for its locks.';
  end if;
  return v_user;
end
$$;

comment on function app_private.lock_leaving_account(uuid) is 'Locks the dealers of an account in the order of ids, then the account, and returns it. Raises FC001 if it no longer exists, and 40001 if it has got another dealer meanwhile: that one would have to be locked before the account.';
--! EndIncluded privacy/lock_leaving_account.sql
--! Included privacy/require_settled_dealer.sql
create or replace function app_private.require_settled_dealer(dealer_id uuid, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_reason text;
begin
  perform app_private.close_expired_checkout(require_settled_dealer.dealer_id, require_settled_dealer.at);
  v_reason := case
    when exists (
      select from app_public.checkouts as c where c.dealer_id = require_settled_dealer.dealer_id and c.closed_at is null) then 'CHECKOUT'
    -- A negative total is what the dealer is owed.
    when exists (
      select from app_public.invoices as i
      where i.dealer_id = require_settled_dealer.dealer_id and i.status = 'draft' and i.gross_total <> 0) then 'INVOICE'
    when exists (
      select from app_public.dealer_subscriptions as s
      where s.dealer_id = require_settled_dealer.dealer_id
        and (s.status = 'pending' or s.status = 'active' and s.end_at > require_settled_dealer.at)) then 'SUBSCRIPTION'
  end;
  if v_reason is not null then
    raise exception using
      errcode = 'FC008',
      message = case v_reason
        when 'CHECKOUT' then 'You are the last owner of a dealer with an open checkout. Please cancel it, or make another member an owner.'
        when 'INVOICE' then 'You are the last owner of a dealer with an unpaid invoice. Please settle it with support, or make another member an owner.'
        else 'You are the last owner of a dealer with a subscription. Please cancel it, or make another member an owner.' end,
      detail = jsonb_build_object('dealerId', require_settled_dealer.dealer_id, 'reason', v_reason)::text;
  end if;
end
$$;

comment on function app_private.require_settled_dealer(uuid, timestamptz) is 'Raises FC008 if a dealer that loses its last owner has an open checkout, a draft invoice with an amount, or a subscription that is pending or runs. One that was cancelled does not count. The caller has locked the dealer.';
--! EndIncluded privacy/require_settled_dealer.sql
--! Included privacy/forget_account.sql
create or replace function app_private.forget_account(account app_public.users, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_mail_id uuid;
begin
  update app_public.dealer_invitations as i set revoked_at = forget_account.at
  where i.created_by = account.id and i.accepted_at is null and i.revoked_at is null;
  -- Its invitations contain its name, the notice to a former address its present one.
  for v_mail_id in
    delete from app_private.mails as m
    where m.recipient = account.email or m.parameters ->> 'newEmail' = account.email
      or (m.recipient, m.expires_at) in (
        select t.email, t.expires_at from app_private.one_time_tokens as t where t.user_id = account.id
        union all
        select i.email, i.expires_at from app_public.dealer_invitations as i where i.created_by = account.id)
    returning m.id
  loop
    perform graphile_worker.remove_job('send_mail:' || v_mail_id);
  end loop;
  delete from app_public.dealer_invitations as i where i.email = account.email;
  delete from app_private.one_time_tokens as t where t.user_id = account.id or t.email = account.email;
  perform app_private.forget_failed_logins(account.email);
  delete from app_private.known_addresses as k where k.account_key = app_private.account_key(account.email);
  delete from app_private.user_passwords as p where p.user_id = account.id;
  -- Random, so that nobody can register the address before. The trigger users_sessions_ended ends the sessions.
  update app_public.users as u
  set email = 'deleted-' || gen_random_uuid() || '@deleted.invalid', full_name = 'Deleted user', email_verified_at = null,
    is_admin = false, deleted_at = forget_account.at
  where u.id = account.id;
end
$$;

comment on function app_private.forget_account(app_public.users, timestamptz) is 'Removes what identifies the person from every table: docs/privacy.md lists them. The row of the account stays, because invoices, ledger and audit trail refer to it. The caller has locked the account and its dealers.';
--! EndIncluded privacy/forget_account.sql
--! Included privacy/delete_my_account.sql
create or replace function app_public.delete_my_account(password_hash text) returns boolean
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_user constant app_public.users := app_private.lock_leaving_account(app_public.current_user_id());
  v_at constant timestamptz := clock_timestamp();
  v_dealer_id uuid;
  v_closed uuid[] := array[]::uuid[];
begin
  perform from app_private.user_passwords as p
  where p.user_id = v_user.id and p.password_hash = delete_my_account.password_hash;
  if not found then
    return false;
  end if;
  perform from app_public.users as u where u.is_admin and u.id <> v_user.id and u.locked_at is null and u.deleted_at is null;
  if v_user.is_admin and not found then
    raise exception using
      errcode = 'FC008',
      message = 'You are the last admin. Please ask an operator to make another user an admin first.',
      detail = jsonb_build_object('reason', 'LAST_ADMIN')::text;
  end if;
  for v_dealer_id in
    delete from app_public.dealer_users as du where du.user_id = v_user.id
    returning case when du.role = 'owner' and not app_private.has_owner(du.dealer_id, du.user_id) then du.dealer_id end
  loop
    if v_dealer_id is not null then
      perform app_private.require_settled_dealer(v_dealer_id, v_at);
      v_closed := v_closed || v_dealer_id;
    end if;
  end loop;
  update app_public.dealers as d set is_active = false, updated_at = v_at where d.id = any (v_closed) and d.is_active;
  perform app_private.forget_account(v_user, v_at);
  perform app_private.write_audit_log(
    'DELETE_ACCOUNT', 'users', v_user.id, null, jsonb_build_object('deletedAt', v_at, 'ownerlessDealerIds', v_closed));
  return true;
end
$$;

comment on function app_public.delete_my_account(text) is 'Deletes the account of the current user if `password_hash` is the hash of its password, which the API computes; otherwise returns false. Raises FC008 for the last admin, and what require_settled_dealer raises for each dealer that it leaves without an owner; such a dealer is closed. Not a field of GraphQL: `deleteMyAccount` calls it.';

grant execute on function app_public.delete_my_account(text) to forecourt_dealer, forecourt_admin;
--! EndIncluded privacy/delete_my_account.sql
--! Included privacy/export_my_data.sql
create or replace function app_public.export_my_data() returns jsonb
  language sql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set timezone to 'UTC'
as $$
  with account as (
    select u.*, app_private.account_key(u.email) as key from app_public.users as u where u.id = app_private.require_user()
  ), membership_changes as (
    select a.created_at, a.action, coalesce(a.new_values, a.old_values) as changed
    from app_public.audit_logs as a, account as u
    where a.resource_type = 'dealer_users' and coalesce(a.new_values, a.old_values) ->> 'user_id' = u.id::text
  ), dealers_ever as (
    select du.dealer_id from account as u join app_public.dealer_users as du on du.user_id = u.id
    union select c.created_id from account as u join app_private.dealer_creations as c on c.user_id = u.id
    union select (m.changed ->> 'dealer_id')::uuid from membership_changes as m
  )
  select jsonb_build_object(
    'account', jsonb_build_object(
      'id', u.id, 'email', u.email, 'fullName', u.full_name, 'locale', u.locale, 'isAdmin', u.is_admin, 'dealerLimit', u.dealer_limit,
      'createdAt', u.created_at, 'emailVerifiedAt', u.email_verified_at, 'passwordSetAt', (
        select p.updated_at from app_private.user_passwords as p where p.user_id = u.id)),
    'memberships', to_jsonb(array(
      select jsonb_build_object('dealerId', d.id, 'companyName', d.company_name, 'role', upper(du.role::text collate "C"), 'createdAt', du.created_at)
      from app_public.dealer_users as du join app_public.dealers as d on d.id = du.dealer_id
      where du.user_id = u.id order by du.created_at, d.id)),
    'membershipChanges', to_jsonb(array(
      select jsonb_build_object('dealerId', m.changed ->> 'dealer_id', 'action', m.action, 'role', upper((m.changed ->> 'role') collate "C"), 'createdAt', m.created_at)
      from membership_changes as m order by m.created_at)),
    'dealersCreated', to_jsonb(array(
      select jsonb_build_object('dealerId', d.id, 'companyName', d.company_name, 'createdAt', d.created_at)
      from app_private.dealer_creations as c join app_public.dealers as d on d.id = c.created_id
      where c.user_id = u.id order by c.number)),
    'invitationsSent', to_jsonb(array(
      select jsonb_build_object('id', i.id, 'dealerId', i.dealer_id, 'role', upper(i.role::text collate "C"), 'createdAt', i.created_at,
        'expiresAt', i.expires_at, 'acceptedAt', i.accepted_at, 'revokedAt', i.revoked_at)
      from app_public.dealer_invitations as i where i.created_by = u.id order by i.id)),
    'invitationsReceived', to_jsonb(array(
      select jsonb_build_object('id', i.id, 'dealerId', i.dealer_id, 'role', upper(i.role::text collate "C"), 'createdAt', i.created_at,
        'expiresAt', i.expires_at, 'acceptedAt', i.accepted_at, 'revokedAt', i.revoked_at)
      from app_public.dealer_invitations as i where i.email = u.email order by i.id)),
    'apiKeysMade', to_jsonb(array(
      select jsonb_build_object('dealerId', k.dealer_id, 'name', k.name, 'createdAt', k.created_at, 'revokedAt', k.revoked_at, 'lastUsedAt', k.last_used_at)
      from app_public.dealer_api_keys as k where k.created_by = u.id order by k.id)),
    'sessions', to_jsonb(array(
      select jsonb_build_object('createdAt', s.created_at, 'expiresAt', s.expires_at) from app_private.sessions as s where s.user_id = u.id order by s.id)),
    'clientAddresses', to_jsonb(array(
      select jsonb_build_object('address', k.address, 'lastLoginAt', k.last_login_at) from app_private.known_addresses as k where k.account_key = u.key order by k.last_login_at)),
    'failedLogins', to_jsonb(array(
      select jsonb_build_object('failures', f.failures, 'since', f.window_started_at)
      from app_private.login_failures as f
      where f.email_hash = u.key or f.email_hash in (
        select app_private.account_key(u.email, k.address) from app_private.known_addresses as k where k.account_key = u.key)
      order by f.window_started_at)),
    'mails', to_jsonb(array(
      select jsonb_build_object('kind', m.kind, 'createdAt', m.created_at, 'sentAt', m.sent_at) from app_private.mails as m where m.recipient = u.email order by m.id)),
    'mailTokens', to_jsonb(array(
      select jsonb_build_object('kind', t.kind, 'email', t.email, 'expiresAt', t.expires_at, 'usedAt', t.used_at)
      from app_private.one_time_tokens as t where t.user_id = u.id order by t.kind)),
    'publications', to_jsonb(array(
      select jsonb_build_object('dealerId', l.dealer_id, 'listingId', l.id, 'title', l.title, 'kind', upper(c.kind::text collate "C"), 'createdAt', c.created_at)
      from app_public.listing_consumptions as c join app_public.listings as l on l.dealer_id = c.dealer_id and l.id = c.listing_id
      where c.dealer_id in (select e.dealer_id from dealers_ever as e) and c.created_by = u.id order by c.created_at, c.id)),
    'auditEntries', to_jsonb(array(
      select jsonb_build_object('action', a.action, 'resourceType', a.resource_type, 'resourceId', a.resource_id, 'clientAddress', host(a.ip), 'createdAt', a.created_at)
      from app_public.audit_logs as a where a.actor = u.id order by a.created_at, a.id)),
    'auditEntriesAboutAccount', to_jsonb(array(
      select jsonb_build_object('action', a.action, 'oldValues', a.old_values, 'newValues', a.new_values, 'createdAt', a.created_at)
      from app_public.audit_logs as a where a.resource_id = u.id order by a.created_at, a.id)))
  from account as u
$$;

comment on function app_public.export_my_data() is E'@behavior +mutationField\n@resultFieldName data\nAll that is stored about the caller, without hashes and tokens, and without what is about other persons. Times are ISO 8601 in UTC.';

grant execute on function app_public.export_my_data() to forecourt_dealer, forecourt_admin;
--! EndIncluded privacy/export_my_data.sql
