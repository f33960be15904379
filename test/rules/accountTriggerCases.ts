/** For each trigger of accounts, dealers and members: statements on one row, and the action of its entry. Null: no entry. */

export const ACCOUNT_RECORDED: Record<string, [sql: string, action: string | null][]> = {
  'app_public.dealers dealers_audited': [
    [
      "insert into app_public.dealers (company_name, country, dealer_type) values ('New', 'DE', 'general')",
      null,
    ],
    ["update app_public.dealers set is_active = false where company_name = 'New'", 'UPDATE'],
    ["update app_public.dealers set slots_in_use = 1 where company_name = 'New'", null],
    ["delete from app_public.dealers where company_name = 'New'", 'DELETE'],
  ],
  'app_public.dealer_users dealer_users_audited': [
    [
      "insert into app_public.dealer_users (dealer_id, user_id, role) select d.id, u.id, 'staff' from app_public.dealers as d, app_public.users as u where u.email = 'bystander@example.com' limit 1",
      'INSERT',
    ],
    ["update app_public.dealer_users set role = 'owner' where role = 'staff'", 'UPDATE'],
    [
      "delete from app_public.dealer_users where user_id = (select id from app_public.users where email = 'bystander@example.com')",
      'DELETE',
    ],
  ],
  'app_public.dealer_invitations dealer_invitations_audited': [
    [
      `insert into app_public.dealer_invitations (dealer_id, email, role, token_hash, created_by, expires_at)
       select dealer_id, 'new@example.com', role, token_hash, created_by, expires_at from app_public.dealer_invitations where dealer_id = $dealer`,
      'INSERT',
    ],
    ["update app_public.dealer_invitations set revoked_at = now() where email = 'new@example.com'", 'UPDATE'],
    [
      "update app_public.dealer_invitations set email = 'renamed@example.com' where email = 'new@example.com'",
      null,
    ],
    ["delete from app_public.dealer_invitations where email = 'renamed@example.com'", 'DELETE'],
  ],
  'app_public.dealer_api_keys dealer_api_keys_audited': [
    [
      `insert into app_public.dealer_api_keys (dealer_id, name, prefix, secret_hash, created_by)
       select dealer_id, 'New', prefix, secret_hash, created_by from app_public.dealer_api_keys where dealer_id = $dealer`,
      'INSERT',
    ],
    ["update app_public.dealer_api_keys set last_used_at = now() where name = 'New'", null],
    ["update app_public.dealer_api_keys set revoked_at = now() where name = 'New'", 'UPDATE'],
    ["update app_public.dealer_api_keys set name = 'Renamed' where name = 'New'", 'UPDATE'],
    [
      "update app_public.dealer_api_keys set expires_at = now() + interval '1 day' where name = 'Renamed'",
      'UPDATE',
    ],
    ["delete from app_public.dealer_api_keys where name = 'Renamed'", 'DELETE'],
  ],
  'app_public.users users_admin_made_audited': [
    ["insert into app_public.users (email, full_name) values ('plain@example.com', 'Test')", null],
    [
      "insert into app_public.users (email, full_name, is_admin) values ('root@example.com', 'Test', true)",
      'INSERT',
    ],
  ],
  'app_public.users users_admin_audited': [
    ["insert into app_public.users (email, full_name) values ('plain@example.com', 'Test')", null],
    ["update app_public.users set full_name = 'Other' where email = 'plain@example.com'", null],
    ["update app_public.users set dealer_limit = 6 where email = 'plain@example.com'", 'UPDATE'],
    ["update app_public.users set is_admin = true where email = 'plain@example.com'", 'UPDATE'],
    ["update app_public.users set is_admin = false where email = 'plain@example.com'", 'UPDATE'],
  ],
  'app_public.users users_admin_removed_audited': [
    ["insert into app_public.users (email, full_name) values ('plain@example.com', 'Test')", null],
    ["delete from app_public.users where email = 'plain@example.com'", null],
    [
      "insert into app_public.users (email, full_name, is_admin) values ('root@example.com', 'Test', true)",
      'INSERT',
    ],
    ["delete from app_public.users where email = 'root@example.com'", 'DELETE'],
  ],
}
