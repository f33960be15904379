/** Takes the flags off listings whose promotion has ended. */
import type { Task } from 'graphile-worker'

const endPromotions: Task = async (_payload, { abortSignal, logger, query }) => {
  let ended = 0
  for (let count = 1; count > 0 && !abortSignal?.aborted; ended += count) {
    const { rows } = await query<{ count: number }>('select app_private.end_promotions() as count')
    count = rows[0]?.count ?? 0
  }
  // every minute: most runs find nothing
  if (ended > 0) logger.info(`ended the promotions of ${ended} listings`)
}

export default endPromotions
