/** A name says its kind and its table, so that a reader of an error or a plan need not look it up. */
import { expect, test } from '@jest/globals'
import { useCatalogs } from './offenders.ts'

const offenders = useCatalogs()

test('tables and columns are in snake_case, tables in the plural', async () => {
  const query = `
    select label from rules.tables where name !~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*s$'
    union all
    select t.label || '.' || a.attname
    from rules.tables as t
    join pg_attribute as a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    where a.attname !~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$'`
  expect(await offenders(query)).toEqual([])
})

test('functions, their arguments, types and values of enums are in snake_case, and each argument has a name', async () => {
  const query = `
    select f.label from rules.functions as f where f.proname !~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$'
    union all
    select f.label || ' ' || coalesce(argument, 'has arguments without a name')
    from rules.functions as f
    left join lateral unnest(f.proargnames) as argument on true
    where f.pronargs > 0 and coalesce(argument, '') !~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$'
    union all
    select t.label || ' ' || coalesce(e.enumlabel, '')
    from rules.types as t
    left join pg_enum as e on e.enumtypid = t.oid
    where t.name !~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$' or e.enumlabel !~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$'`
  expect(await offenders(query)).toEqual([])
})

/** Indexes that no constraint created. */
const INDEXES = `
  select i.*, t.name as table_name, c.relname as name,
    (select string_agg(coalesce(a.attname, 'expression'), '_' order by k.position)
     from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) with ordinality as k (attnum, position)
     left join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum) as columns
  from pg_index as i
  join rules.tables as t on t.oid = i.indrelid
  join pg_class as c on c.oid = i.indexrelid
  where not exists (select from pg_constraint as k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'))`

test('an index is named ix_<table>_<columns>; a partial one may have a word before the columns', async () => {
  const query = `
    select name from (${INDEXES}) as i
    where not indisunique
      and name <> 'ix_' || table_name || '_' || columns
      and not (indpred is not null and starts_with(name, 'ix_' || table_name || '_') and name like '%\\_' || columns)`
  expect(await offenders(query)).toEqual([])
})

test('a unique index is named ux_<table>_<rule>', async () => {
  const query = `
    select name from (${INDEXES}) as i
    where indisunique and not (starts_with(name, 'ux_' || table_name || '_') and length(name) > length(table_name) + 4)`
  expect(await offenders(query)).toEqual([])
})

test('a policy is named <verb>_<who>', async () => {
  const query = `
    select t.label || ' ' || p.polname
    from pg_policy as p
    join rules.tables as t on t.oid = p.polrelid
    where p.polname !~ ('^' ||
      case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end
      || '_[a-z]+(_[a-z]+)*$')`
  expect(await offenders(query)).toEqual([])
})

test('a constraint begins with the name of its table', async () => {
  const query = `
    select t.label || ' ' || c.conname
    from pg_constraint as c
    join rules.tables as t on t.oid = c.conrelid
    where c.contype <> 'n' and not starts_with(c.conname, t.name || '_')`
  expect(await offenders(query)).toEqual([])
})

test('a constraint is named for its rule, unless it is a key or refers by one column', async () => {
  const query = `
    select t.label || ' ' || c.conname
    from pg_constraint as c
    join rules.tables as t on t.oid = c.conrelid
    where c.contype = 'c' and c.conname ~ '_check[0-9]*$'
      or c.contype = 'x' and c.conname ~ '_excl[0-9]*$'
      or c.contype = 'f' and c.conname ~ '_fkey[0-9]*$' and cardinality(c.conkey) > 1`
  expect(await offenders(query)).toEqual([])
})

test('a trigger is named <table>_<rule>', async () => {
  const query = `
    select t.label || ' ' || g.tgname
    from pg_trigger as g
    join rules.tables as t on t.oid = g.tgrelid
    where not g.tgisinternal and not starts_with(g.tgname, t.name || '_')`
  expect(await offenders(query)).toEqual([])
})
