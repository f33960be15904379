/** Checks that a response shows no internals: no SQL, no names of database objects, no stack traces, no paths. */
import { expect } from '@jest/globals'
import type { TestDatabase } from './database.ts'

const INTERNAL_PATTERNS = [
  /\b(select|insert into|delete from|update \w+ set)\b/i,
  /\b(violates|relation|constraint|permission denied|syntax error at|duplicate key|plpgsql|sqlstate)\b/i,
  /\b(app_public|app_private|graphile_worker|forecourt_\w+|pg_\w+)\b/,
  /\bat \S+ ?\(|node_modules|node:internal|\.ts:\d|\.js:\d|"stack"/,
]

/** Reads the names of all constraints, indexes and functions of the database. */
export async function readInternalNames(database: TestDatabase): Promise<string[]> {
  const { rows } = await database.superuser.query<{ name: string }>(`
    select conname as name from pg_constraint where connamespace::regnamespace::text like 'app\\_%'
    union select relname from pg_class where relnamespace::regnamespace::text like 'app\\_%' and relkind = 'i'
    union select proname from pg_proc where pronamespace::regnamespace::text like 'app\\_%'`)
  return rows.map(({ name }) => name)
}

/** Fails when the body of a response contains one of the patterns or names. */
export function expectNoInternals(body: string, names: readonly string[]): void {
  expect(INTERNAL_PATTERNS.filter(pattern => pattern.test(body))).toEqual([])
  expect(names.filter(name => body.includes(name))).toEqual([])
}
