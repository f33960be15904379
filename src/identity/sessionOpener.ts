/** Opens and refreshes the sessions of users who have proved who they are. */
import type pg from 'pg'
import type { Session } from './sessions.ts'
import type { Tokens } from './tokens.ts'

/** `app_private.opened_session`: all null if there is no session. */
type SessionRow = {
  session_id: string | null
  refresh_expires_at: Date
  user_id: string
  email: string
  full_name: string
  is_admin: boolean
}

/** Returns a function that runs a statement that opens or refreshes a session. Undefined: the statement returned none. */
export function makeSessionOpener({ pool, tokens }: { pool: pg.Pool; tokens: Tokens }) {
  return async (sql: string, parameters: unknown[], refreshToken: string): Promise<Session | undefined> => {
    const { rows } = await pool.query<SessionRow>(sql, parameters)
    const row = rows[0]
    if (row === undefined || row.session_id === null) return undefined
    const { session_id: sessionId, user_id: userId, is_admin: isAdmin } = row
    return {
      ...(await tokens.issue({ userId, sessionId, role: isAdmin ? 'admin' : 'dealer' })),
      refreshToken,
      refreshExpiresAt: row.refresh_expires_at.toISOString(),
      user: { id: userId, email: row.email, fullName: row.full_name },
    }
  }
}
