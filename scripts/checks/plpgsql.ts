/** Runs plpgsql_check, with all warnings, on every PL/pgSQL function; on a trigger function once for each of its tables. */
import type pg from 'pg'

const FINDINGS = `
  with functions as (
    select p.oid, t.tgrelid as relation
    from pg_proc as p
    join pg_language as l on l.oid = p.prolang
    left join (select distinct tgfoid, tgrelid from pg_trigger) as t on t.tgfoid = p.oid
    where l.lanname = 'plpgsql' and p.pronamespace in ('app_public'::regnamespace, 'app_private'::regnamespace)
      and (p.prorettype <> 'trigger'::regtype or t.tgrelid is not null)
  )
  select concat_ws(' ', f.oid::regprocedure, 'on ' || f.relation::regclass, 'line ' || c.lineno, c.level, c.sqlstate) as place,
    concat_ws(E'\\n  ', c.message, c.detail, c.hint, c.query) as message
  from functions as f
  cross join plpgsql_check_function_tb(f.oid, coalesce(f.relation, 0), all_warnings => true, fatal_errors => false) as c
  union all
  select p.oid::regprocedure::text, 'no table uses this trigger function, so it cannot be checked'
  from pg_proc as p
  where p.prorettype = 'trigger'::regtype
    and p.pronamespace in ('app_public'::regnamespace, 'app_private'::regnamespace)
    and not exists (select from pg_trigger as t where t.tgfoid = p.oid)
  order by 1, 2`

/** `superuser` is a client of a superuser on a migrated Postgres 15. */
export async function checkPlpgsql(superuser: pg.ClientBase): Promise<string[]> {
  await superuser.query('create extension if not exists plpgsql_check')
  const { rows } = await superuser.query<{ place: string; message: string }>(FINDINGS)
  return rows.map(({ place, message }) => `${place}: ${message}`)
}
