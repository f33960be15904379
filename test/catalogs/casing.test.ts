/** SQL that changes case names its collation, because the default collation differs between servers. */
import { expect, test } from '@jest/globals'
import { useCatalogs } from './offenders.ts'

const offenders = useCatalogs()

/** The text of every object that has an expression. SQL-standard function bodies are in `prosqlbody`, not in `prosrc`. */
const EXPRESSIONS = `
  select f.label, f.prosrc || ' ' || coalesce(pg_get_function_sqlbody(f.oid), '') as text from rules.functions as f
  union all
  select t.label || ' ' || c.conname, pg_get_constraintdef(c.oid)
  from pg_constraint as c join rules.tables as t on t.oid = c.conrelid
  union all
  select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
  from pg_index as i join rules.tables as t on t.oid = i.indrelid
  union all
  select r.label, pg_get_viewdef(r.oid) from rules.relations as r where r.kind in ('v', 'm')`

/** `lower` and `upper` also read the bounds of a range. Our ranges are columns, variables or aliases, never casts. */
const OF_RANGE = String.raw`^(lower|upper)\((\w+\.)?(valid|gap|r)\)$`

test('every change of case names its collation, and no comparison ignores case', async () => {
  const query = String.raw`
    select e.label || ': ' || m.call
    from (${EXPRESSIONS}) as e
    cross join lateral (
      select (regexp_matches(e.text, '\m((?:lower|upper|initcap)\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))', 'g'))[1] as call
    ) as m
    where m.call !~* 'collate' and m.call !~ '${OF_RANGE}'
    union all
    select e.label || ' ignores case' from (${EXPRESSIONS}) as e where e.text ~* '\milike\M|~\*|\mcitext\M'`
  expect(await offenders(query)).toEqual([])
})
