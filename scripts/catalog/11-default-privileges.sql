-- As access lists: what is missing from one was revoked.
select 'schema' as kind, coalesce(quote_ident(n.nspname), '(all schemas)') as name,
  format('-- default privileges of %s: %s',
    case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' else 'schemas' end,
    d.defaclacl) as statement
from pg_default_acl as d
left join pg_namespace as n on n.oid = d.defaclnamespace
where d.defaclrole = current_user::regrole
