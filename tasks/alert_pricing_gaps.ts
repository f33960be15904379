/** Has operators told what configuration is missing, or will be within 90 days. */
import type { Task } from 'graphile-worker'

const alertPricingGaps: Task = async (_payload, { logger, query }) => {
  const { rows } = await query<{ alerts: number }>('select app_private.alert_pricing_gaps() as alerts')
  logger.info(`${rows[0]?.alerts ?? 0} alerts of gaps in the configuration`)
}

export default alertPricingGaps
