/** Deletes old alerts. */
import type { Task } from 'graphile-worker'

const removeOldAlerts: Task = async (_payload, { logger, query }) => {
  const { rows } = await query<{ count: number }>('select app_private.remove_old_alerts() as count')
  logger.info(`removed ${rows[0]?.count ?? 0} old alerts`)
}

export default removeOldAlerts
