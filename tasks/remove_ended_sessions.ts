/** Removes sessions that nobody refreshed in time, and tokens that have expired, batch by batch. */
import type { Task } from 'graphile-worker'

const removeEndedSessions: Task = async (_payload, { abortSignal, query }) => {
  for (;;) {
    const { rows } = await query<{ count: number }>('select app_private.remove_ended_sessions() as count')
    if (rows[0]?.count === 0 || abortSignal?.aborted) return
  }
}

export default removeEndedSessions
