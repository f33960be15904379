--! Previous: sha1:937811af8faec24714110b412ac94f21b2ff82c6
--! Hash: sha1:769f93fea42ce4027cea6eabc731a9e09991892d
--! Message: lock stub

-- Replaced by app_private.lock_user and unlock_user of the sessions at the merge.
create or replace function app_private.lock_user(user_id uuid, reason text) returns app_public.users
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_user app_public.users;
begin
  update app_public.users as u set locked_at = clock_timestamp() where u.id = lock_user.user_id returning u.* into v_user;
  perform app_private.write_audit_log('LOCK_USER', 'users', v_user.id, null, jsonb_build_object('reason', lock_user.reason));
  return v_user;
end
$$;

create or replace function app_private.unlock_user(user_id uuid, reason text) returns app_public.users
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_user app_public.users;
begin
  update app_public.users as u set locked_at = null where u.id = unlock_user.user_id returning u.* into v_user;
  perform app_private.write_audit_log('UNLOCK_USER', 'users', v_user.id, null, jsonb_build_object('reason', unlock_user.reason));
  return v_user;
end
$$;
comment on function app_private.lock_user(uuid, text) is 'A stub.';
comment on function app_private.unlock_user(uuid, text) is 'A stub.';
