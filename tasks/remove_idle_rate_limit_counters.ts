/** Removes rate limit counters whose window has passed, batch by batch. */
import type { Task } from 'graphile-worker'

const removeIdleRateLimitCounters: Task = async (_payload, { abortSignal, query }) => {
  for (;;) {
    const { rows } = await query<{ count: number }>(
      'select app_private.remove_idle_rate_limit_counters() as count',
    )
    if (rows[0]?.count === 0 || abortSignal?.aborted) return
  }
}

export default removeIdleRateLimitCounters
