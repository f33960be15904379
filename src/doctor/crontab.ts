/** Whether the worker queued the tasks of the crontab when they were due, and whether it will make up for those it missed. */
import { readFile } from 'node:fs/promises'
import { type ParsedCronItem, parseCrontab } from 'graphile-worker'
import type { Check, Finding } from './finding.ts'

const file = new URL('../../tasks/crontab', import.meta.url)
const MINUTE = 60_000
/** A deployment may stop the worker for so long. */
const GRACE_PERIOD = 15 * MINUTE
/** No task of the crontab runs less often than once a month. */
const LONGEST_GAP = 32 * 24 * 60 * MINUTE
/**
 * The worker makes up for these tasks after a gap of any length: by `app_private.schedule_missed_expiry`, and because the next run of
 * end_promotions, a minute later, does all that is due.
 */
const ALWAYS_MADE_UP = ['expire_subscriptions', 'expire_listings', 'end_promotions']

type Known = { identifier: string; since: Date; last: Date | null }

export const crontab: Check = {
  name: 'crontab: every task was queued when it was due',
  async run({ client, now }) {
    const { rows } = await client.query<Known>(`
      select identifier, known_since as since, last_execution as last from graphile_worker._private_known_crontabs`)
    if (rows.length === 0) {
      return [{ verdict: 'WARN', finding: 'no worker has ever run', remedy: 'start npm run worker' }]
    }
    const known = new Map(rows.map(row => [row.identifier, row]))
    const items = parseCrontab(await readFile(file, 'utf8'))
    return items.flatMap(item => judge(item, known.get(item.identifier), now()) ?? [])
  },
}

function judge(item: ParsedCronItem, known: Known | undefined, now: number): Finding | undefined {
  if (known === undefined) {
    const finding = `${item.identifier} is not known to any worker`
    return { verdict: 'WARN', finding, remedy: 'restart the workers with this build' }
  }
  const due = lastSlot(item, now - GRACE_PERIOD)
  const last = known.last ?? known.since
  // slots before known_since are not missed
  if (due === undefined || last.getTime() >= due) return undefined
  const isLost =
    !ALWAYS_MADE_UP.includes(item.identifier) && now - last.getTime() > item.options.backfillPeriod
  const madeUp = isLost
    ? 'the worker does not make up for the missed slots'
    : 'the worker makes up for it when it starts'
  return {
    verdict: 'FAIL',
    finding: `${item.identifier} was due at ${new Date(due).toISOString()}, last queued ${known.last?.toISOString() ?? 'never'}`,
    remedy: `start npm run worker: ${madeUp}`,
  }
}

/** The last minute up to `end` at which the item was due. */
function lastSlot(item: ParsedCronItem, end: number): number | undefined {
  for (let slot = end - (end % MINUTE); slot > end - LONGEST_GAP; slot -= MINUTE) {
    const date = new Date(slot)
    const digest = {
      min: date.getUTCMinutes(),
      hour: date.getUTCHours(),
      date: date.getUTCDate(),
      month: date.getUTCMonth() + 1,
      dow: date.getUTCDay(),
    }
    if (item.match(digest)) return slot
  }
  return undefined
}
