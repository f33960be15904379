/** Demo data for the embedded database: accounts, countries, packages, dealers and listings in every state. */
import { readFile } from 'node:fs/promises'
import pg from 'pg'

export const demoAccounts = ['admin@example.com', 'dealer@example.com'] as const
export const demoPassword = 'forecourt-demo'

/** Makes the demo data once. Returns false if it exists already. */
export async function makeDemoData(databaseUrl: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: databaseUrl, application_name: 'forecourt demo' })
  await client.connect()
  try {
    await client.query('begin')
    await client.query('lock table app_public.users in exclusive mode')
    const { rowCount } = await client.query('select from app_public.users where email = any ($1)', [
      demoAccounts,
    ])
    if (rowCount !== 0) return false
    // imported here, because most starts find the data and need no hash
    const { hashPassword } = await import('../identity/passwords.ts')
    const passwordHash = await hashPassword(demoPassword)
    await client.query("select set_config('forecourt.demo_password_hash', $1, true)", [passwordHash])
    await client.query(await readFile(new URL('demo.sql', import.meta.url), 'utf8'))
    await client.query('commit')
    return true
  } finally {
    // an uncommitted transaction ends with its connection
    await client.end()
  }
}
