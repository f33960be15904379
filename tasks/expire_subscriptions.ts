/** Records the end of subscriptions, batch by batch, each its own transaction. */
import type { Task } from 'graphile-worker'

const expireSubscriptions: Task = async (_payload, { abortSignal, logger, query }) => {
  let expired = 0
  for (;;) {
    const { rows } = await query<{ count: number }>('select app_private.expire_subscriptions() as count')
    const count = rows[0]?.count ?? 0
    if (count === 0) break
    expired += count
    logger.info(`expired ${expired} subscriptions so far`)
    // what was expired stays so, and the job is tried again
    if (abortSignal?.aborted)
      throw new Error(`stopped after ${expired} subscriptions; the rest is for the next run`)
  }
  logger.info(`expired ${expired} subscriptions`)
}

export default expireSubscriptions
