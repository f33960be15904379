-- A rule that rewrites queries, beside the one that every view has.
select o.kind, o.name, rtrim(pg_get_ruledef(r.oid), ';') as statement
from objects as o
join pg_rewrite as r on r.ev_class = o.oid
where o.catalog = 'pg_class'::regclass and r.rulename <> '_RETURN'
