--! Previous: sha1:483b6b3b2938146ef00e4aa8fb735cd7e67d9b5b
--! Hash: sha1:183d467f3617f983b7f24ab36612c8e520b49626
--! Message: members and invitations

set local lock_timeout to '2s';
set local statement_timeout to '60s';

insert into app_public.rate_limit_policies (scope, subject, fields, max_count, window_seconds)
values ('member_invite', 'user', '{Mutation.inviteMember}', 20, 3600)
on conflict (scope) do nothing;

insert into app_private.mail_templates (kind, locale, subject, body) values
('invitation', 'en', '{inviter} invites you to {dealer}', $$Hello,

{inviter} invites you to work for {dealer} on Forecourt.

To accept the invitation, log in or register with this e-mail address, and enter this code:

{token}

The code is valid until {expiresAt}. If you do not know the sender, you can ignore this mail.
$$),
('invitation', 'de', '{inviter} lädt Sie zu {dealer} ein', $$Guten Tag,

{inviter} lädt Sie ein, auf Forecourt für {dealer} zu arbeiten.

Um die Einladung anzunehmen, melden Sie sich mit dieser E-Mail-Adresse an oder registrieren Sie sich, und geben Sie diesen Code ein:

{token}

Der Code ist bis zum {expiresAt} gültig. Wenn Sie den Absender nicht kennen, können Sie diese E-Mail ignorieren.
$$)
on conflict do nothing;

-- The foreign keys of the new table lock both against writes.
select app_private.lock_tables('app_public.dealers', 'app_public.users');
create table if not exists app_public.dealer_invitations (
  dealer_id uuid not null references app_public.dealers,
  id uuid not null default app_private.time_ordered_uuid(),
  email text not null,
  role app_public.dealer_role not null,
  token_hash bytea not null,
  created_by uuid not null references app_public.users,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  accepted_at timestamptz,
  revoked_at timestamptz,
  primary key (dealer_id, id),
  constraint dealer_invitations_email_form check (app_private.is_email(email)),
  constraint dealer_invitations_email_normalized check (email = app_private.normalize_email(email)),
  constraint dealer_invitations_one_end check (accepted_at is null or revoked_at is null),
  constraint dealer_invitations_token_hash_length check (length(token_hash) = 32)
);
comment on table app_public.dealer_invitations is E'@name invitation\nAn invitation of an e-mail address to become a member of a dealer. Owners and admins see those that are open.';
comment on column app_public.dealer_invitations.dealer_id is 'The dealer.';
comment on column app_public.dealer_invitations.id is 'Time-ordered.';
comment on column app_public.dealer_invitations.email is 'The invited address, in its normal form.';
comment on column app_public.dealer_invitations.role is 'The role that the new member gets.';
comment on column app_public.dealer_invitations.token_hash is 'SHA-256 of the token in the mail.';
comment on column app_public.dealer_invitations.created_by is 'The owner who sent it.';
comment on column app_public.dealer_invitations.created_at is 'When it was sent.';
comment on column app_public.dealer_invitations.expires_at is 'From this moment on it is no longer valid.';
comment on column app_public.dealer_invitations.accepted_at is 'When the invited user accepted it; null: not yet.';
comment on column app_public.dealer_invitations.revoked_at is 'When an owner revoked it, or invited the address again; null: it is not revoked.';
comment on constraint dealer_invitations_email_form on app_public.dealer_invitations is E'@field email\nPlease enter an e-mail address such as name@example.com.';
comment on constraint dealer_invitations_dealer_id_fkey on app_public.dealer_invitations is E'@backwardBehavior +manyRelation:resource:connection\n@foreignFieldName invitations\n@backwardDescription The open invitations. Only owners and admins see them.';
create unique index if not exists ux_dealer_invitations_one_open on app_public.dealer_invitations (dealer_id, email)
  where accepted_at is null and revoked_at is null;
create index if not exists ix_dealer_invitations_id on app_public.dealer_invitations (id);
create index if not exists ix_dealer_invitations_token_hash on app_public.dealer_invitations (token_hash);

comment on table app_public.dealers is E'@behavior +query:resource:connection\nA company that publishes listings. Every write for a dealer locks its row first.';
comment on table app_public.dealer_users is E'@name member\nMembership: the users who act for a dealer.';
comment on column app_public.dealer_users.role is 'What the member may do. The user who creates a dealer is its owner, and a dealer always has one.';
comment on constraint dealer_users_dealer_id_fkey on app_public.dealer_users is E'@backwardBehavior +manyRelation:resource:connection\n@foreignFieldName members\n@backwardDescription The users who act for the dealer. Only members and admins see them.';

do $$ begin
  create type app_public.member_user as (id uuid, full_name text, email text);
exception when duplicate_object then null; end $$;
comment on type app_public.member_user is 'What the members of a dealer see of each other.';
comment on column app_public.member_user.id is E'@notNull\nTime-ordered.';
comment on column app_public.member_user.full_name is E'@notNull\nThe name that the person entered.';
comment on column app_public.member_user.email is E'@notNull\nThe e-mail address.';

--! Included identity/require_owner.sql
create or replace function app_private.require_owner(dealer_id uuid) returns uuid
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- Not the user that it returns: for an API key that is its maker, who may be an owner.
  perform app_private.require_member(dealer_id);
  perform from app_public.dealer_users as du
  where du.dealer_id = require_owner.dealer_id and du.user_id = app_public.current_user_id() and du.role = 'owner';
  if not found then
    raise exception using
      errcode = 'FC003',
      message = case when app_private.current_api_key_id() is null then 'Only owners of this dealer may do this. Please ask one of them.'
        else 'An API key cannot do this. Please ask an owner of this dealer.' end,
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  return app_public.current_user_id();
end
$$;

comment on function app_private.require_owner(uuid) is 'Returns the current user, who must be an owner of the dealer. Raises what require_member raises, and FC003 for staff and for API keys. Functions that staff may call have require_member instead.';
--! EndIncluded identity/require_owner.sql
--! Included member/lock_own_dealer.sql
create or replace function app_private.lock_own_dealer(dealer_id uuid, is_leaving boolean default false) returns app_public.dealers
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer app_public.dealers;
begin
  -- Before the lock, so that a stranger cannot lock a dealer; after it, because the right may have ended while this session waited.
  perform case when is_leaving then app_private.require_member(dealer_id) else app_private.require_owner(dealer_id) end;
  v_dealer := app_private.lock_dealer(dealer_id);
  perform case when is_leaving then app_private.require_member(dealer_id) else app_private.require_owner(dealer_id) end;
  if not is_leaving and not v_dealer.is_active then
    raise exception using
      errcode = 'FC003',
      message = 'This dealer is closed. Please contact support.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  return v_dealer;
end
$$;

comment on function app_private.lock_own_dealer(uuid, boolean) is 'The first step of every change of a dealer and of its members: locks the dealer for its owner. With `is_leaving`, any member may lock it, even if it is closed; without, a closed dealer raises FC003. Raises what require_owner or require_member raises.';
--! EndIncluded member/lock_own_dealer.sql
--! Included member/has_owner.sql
create or replace function app_private.has_owner(dealer_id uuid, except_user_id uuid default null) returns boolean
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform from app_public.dealer_users as du
  join app_public.users as u on u.id = du.user_id
  where du.dealer_id = has_owner.dealer_id and du.user_id is distinct from has_owner.except_user_id and du.role = 'owner'
    and u.locked_at is null and u.deleted_at is null;
  return found;
end
$$;

comment on function app_private.has_owner(uuid, uuid) is 'Whether the dealer has an owner, or one other than `except_user_id`. An owner whose account is locked or deleted does not count. The caller has locked the dealer.';
--! EndIncluded member/has_owner.sql
--! Included member/require_open_invitation.sql
create or replace function app_private.require_open_invitation(
  dealer app_public.dealers, invitation_id uuid, invited app_public.users
) returns void
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_invitation app_public.dealer_invitations;
  v_status text;
begin
  select i.* into strict v_invitation
  from app_public.dealer_invitations as i where i.dealer_id = dealer.id and i.id = require_open_invitation.invitation_id;
  if v_invitation.email <> invited.email then
    raise exception using
      errcode = 'FC003',
      message = 'This invitation was sent to another e-mail address than that of your account. Please log in with the other address, or ask the dealer to invite yours.',
      detail = jsonb_build_object('field', 'token')::text;
  elsif not dealer.is_active then
    raise exception using
      errcode = 'FC003',
      message = 'This dealer is closed. Please contact support.',
      detail = jsonb_build_object('field', 'token')::text;
  elsif v_invitation.accepted_at is not null then
    perform from app_public.dealer_users as du where du.dealer_id = dealer.id and du.user_id = invited.id;
    v_status := case when not found then 'ACCEPTED' end;
  elsif v_invitation.revoked_at is not null or not exists (
    -- Somebody who is no longer an owner must not come back, or bring others, by an invitation from before.
    select from app_public.dealer_users as du
    join app_public.users as u on u.id = du.user_id
    where du.dealer_id = dealer.id and du.user_id = v_invitation.created_by and du.role = 'owner'
      and u.locked_at is null and u.deleted_at is null)
  then
    v_status := 'REVOKED';
  elsif v_invitation.expires_at <= clock_timestamp() then
    v_status := 'EXPIRED';
  end if;
  if v_status is not null then
    raise exception using
      errcode = 'FC008',
      message = 'This invitation is no longer valid. Please ask the dealer for a new one.',
      detail = jsonb_build_object('field', 'token', 'status', v_status)::text;
  end if;
end
$$;

comment on function app_private.require_open_invitation(app_public.dealers, uuid, app_public.users) is 'Raises FC003 if the invitation is for another e-mail address or its dealer is closed, and FC008 if it is used, revoked or has expired, or if its sender is no longer an owner. A member may use it again. The caller has locked the dealer and the user.';
--! EndIncluded member/require_open_invitation.sql
--! Included member/invite_member.sql
create or replace function app_public.invite_member(
  dealer_id uuid, email text, role app_public.dealer_role, token_hash bytea, sealed_token bytea
) returns app_public.dealer_invitations
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_email constant text := app_private.normalize_email(invite_member.email);
  v_dealer app_public.dealers := app_private.lock_own_dealer(invite_member.dealer_id);
  v_at constant timestamptz := clock_timestamp();
  v_inviter app_public.users;
  v_invitation app_public.dealer_invitations;
begin
  perform from app_public.users as u
  join app_public.dealer_users as du on du.dealer_id = v_dealer.id and du.user_id = u.id
  where u.email = v_email;
  if found then
    raise exception using
      errcode = 'FC008',
      message = 'The user with this e-mail address is a member already. You can change the role of a member.',
      detail = jsonb_build_object('field', 'email')::text;
  end if;
  select u.* into v_inviter from app_public.users as u where u.id = app_public.current_user_id();
  if v_inviter.email_verified_at is null then
    raise exception using
      errcode = 'FC003',
      message = 'Please verify your e-mail address before you invite others. requestEmailVerification sends you a token.';
  end if;
  update app_public.dealer_invitations as i set revoked_at = v_at
  where i.dealer_id = v_dealer.id and i.email = v_email and i.accepted_at is null and i.revoked_at is null;
  insert into app_public.dealer_invitations (dealer_id, email, role, token_hash, created_by, created_at, expires_at)
  values (v_dealer.id, v_email, invite_member.role, invite_member.token_hash, v_inviter.id, v_at, v_at + interval '168 hours')
  returning * into v_invitation;
  perform app_private.queue_mail(
    'invitation', v_email, v_inviter.locale,
    jsonb_build_object('dealer', v_dealer.company_name, 'inviter', v_inviter.full_name),
    invite_member.sealed_token, v_invitation.expires_at);
  return v_invitation;
end
$$;

comment on function app_public.invite_member(uuid, text, app_public.dealer_role, bytea, bytea) is 'Invites an e-mail address to become a member of the dealer, and queues the mail with the token. An earlier open invitation of the address is revoked. `token_hash` is the SHA-256 of the token, `sealed_token` the token as queue_mail takes it. Raises FC008 if the address belongs to a member, and FC003 if the address of the caller is not verified. Not a field of GraphQL: `inviteMember` calls it.';

grant execute on function app_public.invite_member(uuid, text, app_public.dealer_role, bytea, bytea) to forecourt_dealer, forecourt_admin;
--! EndIncluded member/invite_member.sql
--! Included member/revoke_invitation.sql
create or replace function app_public.revoke_invitation(invitation_id uuid) returns app_public.dealer_invitations
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_invitation app_public.dealer_invitations;
begin
  select i.* into v_invitation from app_public.dealer_invitations as i where i.id = revoke_invitation.invitation_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no invitation with this id. Please check it.',
      detail = jsonb_build_object('field', 'invitationId')::text;
  end if;
  perform app_private.lock_own_dealer(v_invitation.dealer_id);
  update app_public.dealer_invitations as i set revoked_at = coalesce(i.revoked_at, clock_timestamp())
  where i.dealer_id = v_invitation.dealer_id and i.id = v_invitation.id and i.accepted_at is null
  returning i.* into v_invitation;
  if not found then
    raise exception using
      errcode = 'FC008',
      message = 'This invitation is accepted, so it cannot be revoked. You can remove the member.',
      detail = jsonb_build_object('field', 'invitationId', 'status', 'ACCEPTED')::text;
  end if;
  return v_invitation;
end
$$;

comment on function app_public.revoke_invitation(uuid) is E'@behavior +mutationField\n@resultFieldName invitation\nFor owners: revokes an invitation, so that its token is no longer valid. One that is accepted cannot be revoked (409). A second call changes nothing.';

grant execute on function app_public.revoke_invitation(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded member/revoke_invitation.sql
--! Included member/accept_invitation.sql
create or replace function app_public.accept_invitation(token_hash bytea) returns app_public.dealers
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_user_id constant uuid := app_private.require_user();
  v_user app_public.users;
  v_invitation app_public.dealer_invitations;
  v_dealer app_public.dealers;
begin
  select i.* into v_invitation from app_public.dealer_invitations as i where i.token_hash = accept_invitation.token_hash;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no invitation with this token. Please copy the whole token from the mail.',
      detail = jsonb_build_object('field', 'token')::text;
  end if;
  v_dealer := app_private.lock_dealer(v_invitation.dealer_id);
  -- Its lock keeps the e-mail address until the end.
  v_user := app_private.require_account(v_user_id);
  perform app_private.require_open_invitation(v_dealer, v_invitation.id, v_user);
  update app_public.dealer_invitations as i set accepted_at = clock_timestamp()
  where i.dealer_id = v_dealer.id and i.id = v_invitation.id and i.accepted_at is null;
  if found then
    insert into app_public.dealer_users (dealer_id, user_id, role)
    values (v_dealer.id, v_user.id, v_invitation.role)
    on conflict on constraint dealer_users_pkey do nothing;
    perform app_private.confirm_email(v_user.id, v_user.email);
  end if;
  return v_dealer;
end
$$;

comment on function app_public.accept_invitation(bytea) is 'Makes the current user a member of the dealer that invited its e-mail address; a member keeps its role. The token came by mail, so the address is verified too. A member may repeat the call, which then changes nothing. Raises what require_open_invitation raises, FC003 for an API key, and FC004 for an unknown token. Not a field of GraphQL: `acceptInvitation` calls it.';

grant execute on function app_public.accept_invitation(bytea) to forecourt_dealer, forecourt_admin;
--! EndIncluded member/accept_invitation.sql
--! Included member/remove_member.sql
create or replace function app_public.remove_member(dealer_id uuid, user_id uuid) returns app_public.dealers
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_is_self constant boolean := remove_member.user_id = app_public.current_user_id();
  v_dealer app_public.dealers := app_private.lock_own_dealer(remove_member.dealer_id, is_leaving => v_is_self is true);
  v_role app_public.dealer_role;
begin
  delete from app_public.dealer_users as du
  where du.dealer_id = v_dealer.id and du.user_id = remove_member.user_id
  returning du.role into v_role;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no member with this id. Please check it.',
      detail = jsonb_build_object('field', 'userId')::text;
  elsif v_role = 'owner' then
    perform app_private.require_other_owner(v_dealer.id, remove_member.user_id);
  end if;
  return v_dealer;
end
$$;

comment on function app_public.remove_member(uuid, uuid) is E'@behavior +mutationField\n@resultFieldName dealer\nFor owners: removes a member. Every member may leave, by its own `userId`, even if the dealer is closed. The last owner can neither leave nor be removed (409).';

grant execute on function app_public.remove_member(uuid, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded member/remove_member.sql
--! Included member/set_member_role.sql
create or replace function app_public.set_member_role(dealer_id uuid, user_id uuid, role app_public.dealer_role)
  returns app_public.dealer_users
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_dealer app_public.dealers := app_private.lock_own_dealer(set_member_role.dealer_id);
  v_member app_public.dealer_users;
begin
  update app_public.dealer_users as du set role = set_member_role.role
  where du.dealer_id = v_dealer.id and du.user_id = set_member_role.user_id
  returning du.* into v_member;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no member with this id. Please check it.',
      detail = jsonb_build_object('field', 'userId')::text;
  elsif v_member.role <> 'owner' then
    perform app_private.require_other_owner(v_dealer.id, v_member.user_id);
  end if;
  return v_member;
end
$$;

comment on function app_public.set_member_role(uuid, uuid, app_public.dealer_role) is E'@behavior +mutationField\n@resultFieldName member\nFor owners: changes the role of a member, at once. The last owner stays one (409).';

grant execute on function app_public.set_member_role(uuid, uuid, app_public.dealer_role) to forecourt_dealer, forecourt_admin;
--! EndIncluded member/set_member_role.sql
--! Included member/user_of_member.sql
create or replace function app_public.user_of_member(dealer_id uuid, user_id uuid) returns app_public.member_user
  language plpgsql stable security definer parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_user app_public.member_user;
begin
  if user_of_member.dealer_id = any (app_public.current_dealer_ids()) or app_public.is_admin() then
    select u.id, u.full_name, u.email into v_user
    from app_public.dealer_users as du
    join app_public.users as u on u.id = du.user_id
    where du.dealer_id = user_of_member.dealer_id and du.user_id = user_of_member.user_id;
  end if;
  return v_user;
end
$$;

comment on function app_public.user_of_member(uuid, uuid) is 'What the members of a dealer, and admins, may see of the user of a member. Everybody else gets nothing. The columns of `users` have one grant for all rows, so members read this instead. Not a field of GraphQL: `Member.user` calls it.';

grant execute on function app_public.user_of_member(uuid, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded member/user_of_member.sql
--! Included member/role_at_dealer.sql
create or replace function app_public.role_at_dealer(dealer_id uuid) returns app_public.dealer_role
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_role app_public.dealer_role;
begin
  -- A stranger sees the dealer of a listing as null, and a visitor may not read members.
  if role_at_dealer.dealer_id is null then
    return null;
  end if;
  -- Volatile although it only reads: a stable function would not see the member that the calling statement has just written.
  -- @plpgsql_check_options: performance_warnings = off
  select du.role into v_role
  from app_public.dealer_users as du
  where du.dealer_id = role_at_dealer.dealer_id and du.user_id = app_public.current_user_id();
  return v_role;
end
$$;

comment on function app_public.role_at_dealer(uuid) is 'The role of the current user at a dealer, with the caller''s own rights; null if it is no member. Not a field of GraphQL: `Dealer.myRole` calls it.';

grant execute on function app_public.role_at_dealer(uuid) to forecourt_visitor, forecourt_dealer, forecourt_admin;
--! EndIncluded member/role_at_dealer.sql
--! Included identity/update_dealer.sql
create or replace function app_public.update_dealer(dealer_id uuid, company_name text default null) returns app_public.dealers
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_dealer app_public.dealers := app_private.lock_own_dealer(update_dealer.dealer_id);
  v_name constant text := app_private.require_name(update_dealer.company_name, 'companyName');
begin
  if v_name <> v_dealer.company_name then
    update app_public.dealers as d
    set company_name = v_name, updated_at = clock_timestamp()
    where d.id = v_dealer.id
    returning d.* into v_dealer;
  end if;
  return v_dealer;
end
$$;

comment on function app_public.update_dealer(uuid, text) is E'@behavior +mutationField\n@resultFieldName dealer\nFor owners: changes the company''s name. What is absent or null stays.';

grant execute on function app_public.update_dealer(uuid, text) to forecourt_dealer, forecourt_admin;
--! EndIncluded identity/update_dealer.sql
--! Included billing/buy_package.sql
create or replace function app_public.buy_package(
  dealer_id uuid, package_id uuid, idempotency_key uuid, success_url text default null, cancel_url text default null
) returns app_public.checkouts
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_payload_hash constant bytea := sha256(convert_to(jsonb_build_array(package_id, success_url, cancel_url)::text, 'UTF8'));
  v_dealer app_public.dealers;
  v_decision app_private.purchase_decision;
  v_package app_public.dealer_packages;
  v_checkout app_public.checkouts;
  v_item app_public.invoice_items;
  v_at timestamptz;
begin
  perform app_private.require_owner(buy_package.dealer_id);
  v_dealer := app_private.lock_dealer(buy_package.dealer_id);
  -- Again: the right may have ended while this session waited.
  perform app_private.require_owner(buy_package.dealer_id);
  v_checkout := app_private.replay_checkout(buy_package.dealer_id, buy_package.idempotency_key, v_payload_hash);
  if v_checkout.invoice_id is not null then
    return v_checkout;
  end if;
  v_at := clock_timestamp();
  v_decision := app_private.decide_purchase(v_dealer, buy_package.package_id, v_at);
  perform app_private.close_expired_checkout(buy_package.dealer_id, v_at);
  v_package := v_decision.package;
  v_item := v_decision.item;
  insert into app_public.invoices (dealer_id, kind, country, currency, net_total, vat_total, gross_total, created_at, updated_at)
  values (v_dealer.id, 'package', v_dealer.country, v_item.currency, v_item.net_amount, v_item.vat_amount, v_item.gross_amount, v_at, v_at)
  returning id into v_item.invoice_id;
  v_item.id := app_private.time_ordered_uuid();
  v_item.dealer_id := v_dealer.id;
  v_item.description := format('Package %s, %s days', v_package.key, v_package.duration_days);
  v_item.package_id := v_package.id;
  v_item.country := v_dealer.country;
  v_item.created_at := v_at;
  insert into app_public.invoice_items values (v_item.*);
  insert into app_public.checkouts (
    dealer_id, invoice_id, package_id, idempotency_key, payload_hash, provider, success_url, cancel_url,
    duration_days, listing_limit, quota_kind, premium_quota, highlight_quota, overage, expires_at, created_at)
  values (
    v_dealer.id, v_item.invoice_id, v_package.id, buy_package.idempotency_key, v_payload_hash, 'manual', buy_package.success_url, buy_package.cancel_url,
    v_package.duration_days, v_package.listing_limit, v_package.quota_kind, v_package.premium_quota, v_package.highlight_quota, v_package.overage,
    v_at + interval '336 hours', v_at)
  returning * into v_checkout;
  return v_checkout;
end
$$;

comment on function app_public.buy_package(uuid, uuid, uuid, text, text) is E'@behavior +mutationField\n@resultFieldName checkout\nFor owners: starts the purchase of a package that is on sale in the dealer''s country: creates a draft invoice with a snapshot of price and VAT. The offer is open for 14 days. The same idempotency key with the same input returns the same checkout.';

grant execute on function app_public.buy_package(uuid, uuid, uuid, text, text) to forecourt_dealer, forecourt_admin;
--! EndIncluded billing/buy_package.sql
--! Included billing/cancel_checkout.sql
create or replace function app_public.cancel_checkout(checkout_id uuid) returns app_public.checkouts
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_checkout app_public.checkouts;
  v_status app_public.checkout_status;
  v_at timestamptz;
begin
  -- A checkout has the id of its invoice.
  select c.* into v_checkout from app_public.checkouts as c where c.invoice_id = cancel_checkout.checkout_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no checkout with this id. Please check it.',
      detail = jsonb_build_object('field', 'checkoutId')::text;
  end if;
  perform app_private.require_owner(v_checkout.dealer_id);
  perform app_private.lock_dealer(v_checkout.dealer_id);
  -- Again: the right may have ended while this session waited.
  perform app_private.require_owner(v_checkout.dealer_id);
  v_at := clock_timestamp();
  v_status := app_public.status_of_checkout(v_checkout.dealer_id, v_checkout.invoice_id, v_at);
  if v_status = 'open' then
    return app_private.void_checkout(v_checkout.dealer_id, v_checkout.invoice_id, v_at);
  elsif v_status <> 'cancelled' then
    raise exception using
      errcode = 'FC008',
      message = case v_status
        when 'paid' then 'This checkout is paid, so it cannot be cancelled. You can cancel its subscription.'
        else 'The offer of this checkout has expired. You need not cancel it: please start a new purchase.' end,
      detail = jsonb_build_object('field', 'checkoutId', 'status', upper(v_status::text collate "C"))::text;
  end if;
  select c.* into v_checkout
  from app_public.checkouts as c
  where c.dealer_id = v_checkout.dealer_id and c.invoice_id = v_checkout.invoice_id;
  return v_checkout;
end
$$;

comment on function app_public.cancel_checkout(uuid) is E'@behavior +mutationField\n@resultFieldName checkout\nFor owners: cancels an open checkout of the dealer and voids its invoice, so that another purchase can start. One that is paid or has expired cannot be cancelled (409). A second call changes nothing.';

grant execute on function app_public.cancel_checkout(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded billing/cancel_checkout.sql
--! Included subscription/cancel_subscription.sql
create or replace function app_public.cancel_subscription(subscription_id uuid) returns app_public.dealer_subscriptions
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_dealer_id uuid;
  v_subscription app_public.dealer_subscriptions;
begin
  select s.dealer_id into v_dealer_id from app_public.dealer_subscriptions as s where s.id = cancel_subscription.subscription_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no subscription with this id. Please check it.',
      detail = jsonb_build_object('field', 'subscriptionId')::text;
  end if;
  perform app_private.require_owner(v_dealer_id);
  perform app_private.lock_dealer(v_dealer_id);
  -- Again: the right may have ended while this session waited.
  perform app_private.require_owner(v_dealer_id);
  select s.* into v_subscription
  from app_public.dealer_subscriptions as s
  where s.dealer_id = v_dealer_id and s.id = cancel_subscription.subscription_id;
  if v_subscription.status = 'cancelled' then
    return v_subscription;
  elsif v_subscription.status = 'expired' or v_subscription.end_at <= clock_timestamp() then
    raise exception using
      errcode = 'FC008',
      message = 'This subscription has already ended, so it cannot be cancelled.',
      detail = jsonb_build_object('field', 'subscriptionId', 'endAt', v_subscription.end_at)::text;
  elsif v_subscription.status = 'pending' and v_subscription.invoice_id is not null then
    raise exception using
      errcode = 'FC008',
      message = 'This subscription is paid and has not started, so it cannot be cancelled. Please contact support if you do not want it.',
      detail = jsonb_build_object('field', 'subscriptionId', 'status', 'PENDING')::text;
  end if;
  update app_public.dealer_subscriptions as s
  set status = 'cancelled', updated_at = clock_timestamp()
  where s.dealer_id = v_dealer_id and s.id = cancel_subscription.subscription_id
  returning s.* into v_subscription;
  return v_subscription;
end
$$;

comment on function app_public.cancel_subscription(uuid) is E'@behavior +mutationField\n@resultFieldName subscription\nFor owners: cancels a subscription of the dealer. It keeps its quota until `endAt`. A pending one that is paid cannot be cancelled (409); one that was granted never starts. A second call changes nothing.';

grant execute on function app_public.cancel_subscription(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded subscription/cancel_subscription.sql

create or replace trigger dealer_invitations_audited after insert or update or delete on app_public.dealer_invitations
  for each row execute function app_private.audit_change('dealer_id');

select app_private.force_row_security('app_public.dealer_invitations');
drop policy if exists select_owner on app_public.dealer_invitations;
create policy select_owner on app_public.dealer_invitations for select to forecourt_dealer
  using (dealer_id = any (app_public.current_owned_dealer_ids()) and accepted_at is null and revoked_at is null and expires_at > now());
drop policy if exists select_admin on app_public.dealer_invitations;
create policy select_admin on app_public.dealer_invitations for select to forecourt_admin
  using ((select app_public.is_admin()) and accepted_at is null and revoked_at is null and expires_at > now());
grant select (dealer_id, id, email, role, created_by, created_at, expires_at) on app_public.dealer_invitations
  to forecourt_dealer, forecourt_admin;
