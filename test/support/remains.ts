/** Searches the whole database for a text, as somebody would who reads a dump. */
import type { TestDatabase } from './database.ts'

const TABLES = `
  select c.oid::regclass::text as name from pg_class as c
  where c.relkind in ('r', 'p', 'm') and not c.relispartition
    and c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast')
  order by 1`

/** The tables of all schemas in which the text is, in clear or as bytes. */
export async function tablesWith({ superuser }: TestDatabase, text: string): Promise<string[]> {
  const { rows } = await superuser.query<{ name: string }>(TABLES)
  const found: string[] = []
  const needles = [text, Buffer.from(text).toString('hex')].map(needle => `%${needle}%`)
  for (const { name } of rows) {
    const search = `select from ${name} as t where t::text ilike any ($1) limit 1`
    if ((await superuser.query(search, [needles])).rows.length > 0) found.push(name)
  }
  return found
}
