/** Opens the session of a user who has proved who it is. */
import type pg from 'pg'
import type { Session } from './sessions.ts'
import type { Tokens } from './tokens.ts'

type SessionRow = {
  session_id: string | null
  user_id: string
  email: string
  full_name: string
  is_admin: boolean
}

/** Returns a function that runs a statement that opens a session. Undefined: the statement returned none. */
export function makeSessionOpener({ pool, tokens }: { pool: pg.Pool; tokens: Tokens }) {
  return async (sql: string, parameters: unknown[]): Promise<Session | undefined> => {
    const { rows } = await pool.query<SessionRow>(sql, parameters)
    const row = rows[0]
    if (row === undefined || row.session_id === null) return undefined
    const { user_id: userId, is_admin: isAdmin } = row
    return {
      ...(await tokens.issue({ userId, role: isAdmin ? 'admin' : 'dealer' })),
      user: { id: userId, email: row.email, fullName: row.full_name },
    }
  }
}
