select o.kind, o.name,
  format('create sequence %s as %s start with %s increment by %s minvalue %s maxvalue %s cache %s%s', o.name,
    format_type(s.seqtypid, null), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
    case when s.seqcycle then ' cycle' else '' end) as statement
from objects as o
join pg_sequence as s on s.seqrelid = o.oid
where o.catalog = 'pg_class'::regclass
