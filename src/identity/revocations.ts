/** The sessions that have ended lately. Their access tokens verify until they expire, so each request looks up its session here. */
import type pg from 'pg'
import type { Watch } from '../database/watch.ts'
import type { Logger } from '../log.ts'

export type Revocations = {
  /** Whether the session has ended. */
  has(sessionId: string): boolean
  /** Whether a session may have ended that this process does not know of, because it cannot read the database. */
  isStale(): boolean
}

type Options = {
  /** Connects as forecourt_authenticator. */
  pool: pg.Pool
  watch: Watch
  log: Logger
}

const STALE_MS = 3_000

export async function watchRevocations({ pool, watch, log }: Options): Promise<Revocations> {
  let ended: ReadonlySet<string> = new Set()
  let readAt = 0

  async function read(): Promise<void> {
    const startedAt = performance.now()
    // all of them, because a transaction that commits late has an old time
    const { rows } = await pool.query<{ ids: string[] }>('select app_public.revoked_session_ids() as ids')
    ended = new Set(rows[0]?.ids)
    readAt = startedAt
  }

  await read()
  await watch.add('revoked_sessions', () =>
    read().catch((error: Error) => log.warn({ reason: error.message }, 'ended sessions could not be read')),
  )
  return {
    has: sessionId => ended.has(sessionId),
    isStale: () => performance.now() - readAt > STALE_MS,
  }
}
