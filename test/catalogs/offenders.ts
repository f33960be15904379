/** Runs rules about the catalogs: each is a query for the objects that break it. */
import { afterAll, beforeAll } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

/** The objects of the two schemas, without partitions and objects of extensions. `label` is the name to show. */
const VIEWS = `
  create schema rules;
  create view rules.relations as
    select c.oid, c.oid::regclass::text as label, c.relname as name, n.nspname as schema, c.relkind as kind,
      c.reltype as type
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname in ('app_public', 'app_private') and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')
      and not c.relispartition
      and not exists (select from pg_depend as d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype = 'e');
  create view rules.tables as
    select r.*,
      exists (
        select from pg_attribute as a
        where a.attrelid = r.oid and a.attname = 'dealer_id' and not a.attisdropped
      ) as is_dealer_owned
    from rules.relations as r
    where r.kind in ('r', 'p');
  create view rules.types as
    select t.oid, t.oid::regtype::text as label, t.typname as name
    from pg_type as t
    join pg_namespace as n on n.oid = t.typnamespace
    where n.nspname in ('app_public', 'app_private')
      and (t.typtype in ('d', 'e') or t.oid in (select r.type from rules.relations as r where r.kind = 'c'))
      and not exists (select from pg_depend as d where d.objid = t.oid and d.classid = 'pg_type'::regclass and d.deptype = 'e');
  create view rules.functions as
    select p.*, p.oid::regprocedure::text as label
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    where n.nspname in ('app_public', 'app_private')
      and not exists (select from pg_depend as d where d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e')`

/** The result runs a query of one column of text, on a migrated database of the test file's own. */
export function useCatalogs(): (query: string) => Promise<string[]> {
  let database: TestDatabase
  beforeAll(async () => {
    database = await cloneDatabase()
    await database.superuser.query(VIEWS)
  })
  afterAll(() => database.drop())
  return async query => {
    const { rows } = await database.superuser.query({ text: query, rowMode: 'array' })
    return rows.map(([offender]) => String(offender))
  }
}
