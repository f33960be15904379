/** Makes mails due that failed often, and removes old mails and expired tokens. */
import type { Task } from 'graphile-worker'

const maintainMails: Task = async (_payload, { logger, query }) => {
  const { rows } = await query<{ count: number }>('select app_private.maintain_mails() as count')
  const removed = rows[0]?.count ?? 0
  // every five minutes: most runs find nothing
  if (removed > 0) logger.info(`removed ${removed} old mails`)
}

export default maintainMails
