/** Whether the crontab's tasks were queued when they were due, and what is left to be made up for. */
import { readFile } from 'node:fs/promises'
import { type ParsedCronItem, parseCrontab } from 'graphile-worker'
import type { Check, Finding } from './check.ts'

const file = new URL('../../tasks/crontab', import.meta.url)
const MINUTE = 60_000
/** How late a worker may be that is being deployed. */
const PATIENCE = 15 * MINUTE
/** The longest gap between two slots of a crontab that we look for. */
const LONGEST_GAP = 32 * 24 * 60 * MINUTE
/** A worker that starts makes up for it, however long ago it was due: `app_private.schedule_missed_expiry`. */
const ALWAYS_MADE_UP = 'expire_subscriptions'

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
  const due = lastSlot(item, now - PATIENCE)
  const last = known.last ?? known.since
  // a slot from before the worker knew of the task is nobody's
  if (due === undefined || last.getTime() >= due) return undefined
  const isLost = item.identifier !== ALWAYS_MADE_UP && now - last.getTime() > item.options.backfillPeriod
  const madeUp = isLost ? 'slots of that time are not made up for' : 'a worker that starts makes up for it'
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
