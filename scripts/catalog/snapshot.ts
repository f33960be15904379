/** The description of the schema for scripts, which also read its objects from a temporary view. */
import type pg from 'pg'
import * as catalog from '../../src/doctor/catalog/describeSchema.ts'

/** Describes the database that `owner`, a client of its owner, is connected to, and leaves the view `objects` behind. */
export async function describeSchema(owner: pg.ClientBase): Promise<string> {
  await owner.query('set search_path to pg_catalog')
  await owner.query(`create or replace temp view objects as ${await catalog.objectsQuery()}`)
  return catalog.describeSchema(owner)
}
