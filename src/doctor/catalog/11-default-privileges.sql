-- As access lists: a default right that is not listed was revoked. `owner` stands for the owner of the schemas.
select 'schema' as kind, coalesce(quote_ident(n.nspname), '(all schemas)') as name,
  format('-- default privileges of %s%s: {%s}',
    case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' else 'schemas' end,
    ' in schema ' || quote_ident(n.nspname),
    (select string_agg(format('%s to %s', lower(x.privilege_type), case x.grantee when d.defaclrole then 'owner' when 0 then 'public' else x.grantee::regrole::text end),
       ', ' order by x.grantee = d.defaclrole desc, x.grantee::regrole::text collate "C", x.privilege_type)
     from aclexplode(d.defaclacl) as x)) as statement
from pg_default_acl as d
left join pg_namespace as n on n.oid = d.defaclnamespace
where d.defaclrole = (select o.nspowner from pg_namespace as o where o.nspname = 'app_public')
