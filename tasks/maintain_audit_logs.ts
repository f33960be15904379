/** Makes the partitions of the audit trail in advance, and drops those older than the retention. */
import type { Task } from 'graphile-worker'

const maintainAuditLogs: Task = async (_payload, { logger, query }) => {
  const { rows } = await query<{ made: number; dropped: number }>(
    'select made, dropped from app_private.maintain_audit_logs()',
  )
  logger.info(`audit trail: made ${rows[0]?.made} partitions, dropped ${rows[0]?.dropped}`)
}

export default maintainAuditLogs
