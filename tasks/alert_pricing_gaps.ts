/** Alerts operators about configuration that is missing now or within 90 days. */
import type { Task } from 'graphile-worker'

const alertPricingGaps: Task = async (_payload, { logger, query }) => {
  const { rows } = await query<{ alerts: number }>('select app_private.alert_pricing_gaps() as alerts')
  logger.info(`raised ${rows[0]?.alerts ?? 0} alerts about missing configuration`)
}

export default alertPricingGaps
