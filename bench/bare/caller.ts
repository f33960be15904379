/** The caller's role and claims for one transaction, as the API sets them. */
import type pg from 'pg'
import type { Identity } from '../../src/request/identity.ts'

const CLAIMS = {
  name: 'claims',
  text: "select set_config('role', $1, true), set_config('forecourt.user_id', $2, true)",
}

export async function asCaller<Value>(
  pool: pg.Pool,
  { userId, role }: Identity,
  access: 'read only' | 'read write',
  work: (client: pg.PoolClient) => Promise<Value>,
): Promise<Value> {
  const client = await pool.connect()
  try {
    await client.query(`begin ${access}`)
    await client.query({ ...CLAIMS, values: [`forecourt_${role}`, userId] })
    const value = await work(client)
    await client.query('commit')
    return value
  } catch (error) {
    await client.query('rollback')
    throw error
  } finally {
    client.release()
  }
}
