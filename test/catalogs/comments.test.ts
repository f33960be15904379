/** Every object has a comment: comments are the documentation that GraphQL and the tools of a DBA show. */
import { expect, test } from '@jest/globals'
import { useCatalogs } from './offenders.ts'

const offenders = useCatalogs()

test('every schema has a comment', async () => {
  const query = `
    select n.nspname from pg_namespace as n
    where n.nspname in ('app_public', 'app_private') and obj_description(n.oid, 'pg_namespace') is null`
  expect(await offenders(query)).toEqual([])
})

test('every table, view and sequence has a comment', async () => {
  const query = `
    select label from rules.relations
    where kind <> 'c' and obj_description(oid, 'pg_class') is null`
  expect(await offenders(query)).toEqual([])
})

test('every column and every attribute of a composite type has a comment', async () => {
  const query = `
    select r.label || '.' || a.attname
    from rules.relations as r
    join pg_attribute as a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    where r.kind <> 'S' and col_description(r.oid, a.attnum) is null`
  expect(await offenders(query)).toEqual([])
})

test('every type has a comment', async () => {
  expect(
    await offenders("select label from rules.types where obj_description(oid, 'pg_type') is null"),
  ).toEqual([])
})

test('every function has a comment', async () => {
  const query = "select label from rules.functions where obj_description(oid, 'pg_proc') is null"
  expect(await offenders(query)).toEqual([])
})
