/** Sends an alert of the outbox to each channel that has not accepted it yet. */
import type { Task } from 'graphile-worker'
import type { Alert, AlertChannel } from '../src/alerts/channel.ts'

const ALERT = `
  select a.id, a.kind, a.key, a.message, a.details, a.created_at as "createdAt"
  from app_private.alerts as a where a.id = $1`
const DELIVERED = `
  select d.channel from app_private.alert_deliveries as d where d.alert_id = $1 and d.delivered_at is not null`

/** The job fails until every channel has accepted the alert. A retry sends it only to the channels that failed. */
export function makeSendAlert(channels: readonly AlertChannel[]): Task {
  return async (payload, { logger, query }) => {
    const { id } = payload as { id: string }
    const [alert] = (await query<Alert>(ALERT, [id])).rows
    if (alert === undefined) return
    if (channels.length === 0) {
      logger.warn(`alert not sent, because no channel is configured: ${alert.kind}: ${alert.message}`)
      return
    }
    const delivered = (await query<{ channel: string }>(DELIVERED, [id])).rows.map(({ channel }) => channel)
    const failures: string[] = []
    for (const channel of channels.filter(({ name }) => !delivered.includes(name))) {
      const failure = await failureOf(channel.send(alert))
      await query('select app_private.record_alert_delivery($1, $2, $3)', [id, channel.name, failure])
      if (failure !== undefined) failures.push(failure)
    }
    if (failures.length > 0) throw new Error(`alert ${alert.kind}: ${failures.join('; ')}`)
    logger.info(`alert sent: ${alert.kind}: ${alert.message}`)
  }
}

async function failureOf(sending: Promise<void>): Promise<string | undefined> {
  try {
    await sending
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
