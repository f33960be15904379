/** Verifies the ledger, stores the result, and alerts operators if a rule is broken. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Task } from 'graphile-worker'
import { type Client, queryOneRow } from '../src/database/oneRow.ts'

type Part = { in_order: boolean; next_dealer_id: string | null }
type Check = { broken: number; seconds: number; rules: string[] }

/** After each part the task pauses for this many times its duration, so that publications keep most of every core. */
const PAUSE_FACTOR = 4
const MAX_PAUSE_MS = 200
const FIRST_DEALER = '00000000-0000-0000-0000-000000000000'

const CHECK = `
  select c.broken, extract(epoch from c.finished_at - c.started_at)::float8 as seconds,
    array(select f ->> 'rule' from jsonb_array_elements(c.findings) as f) as rules
  from app_private.check_ledger($1) as c`

const verifyLedger: Task = async (_payload, { abortSignal, logger, query, withPgClient }) => {
  const [check] = await withPgClient(async client => {
    const { pid, now } = await queryOneRow<{ pid: number; now: Date }>(
      client,
      'select pg_backend_pid() as pid, clock_timestamp() as now',
    )
    // a statement may run for a minute: a stop cancels it, and the job is retried
    const cancel = () => query('select pg_cancel_backend($1)', [pid]).catch(() => {})
    abortSignal?.addEventListener('abort', cancel)
    try {
      const inOrder = await verifyListings(client, abortSignal)
      // if a part is broken, null makes check_ledger verify everything on one snapshot, to count and name the rows
      return (await client.query<Check>(CHECK, [inOrder ? now : null])).rows
    } finally {
      abortSignal?.removeEventListener('abort', cancel)
    }
  })
  if (check === undefined) throw new Error('check_ledger returned no row')
  const { broken, seconds, rules } = check
  const took = `in ${seconds.toFixed(1)} s`
  if (broken === 0) logger.info(`the ledger is in order, verified ${took}`)
  else logger.error(`${broken} ledger rows break a rule, found ${took}: ${rules.join('; ')}`)
}

/** Verifies the listings, a range of dealers at a time, with pauses. Returns whether all are in order. */
async function verifyListings(client: Client, signal: AbortSignal | undefined): Promise<boolean> {
  let dealer: string | null = FIRST_DEALER
  while (dealer !== null) {
    const began = performance.now()
    const part: Part = await queryOneRow(client, 'select * from app_private.verify_listings_from($1)', [
      dealer,
    ])
    if (!part.in_order) return false
    await sleep(Math.min(PAUSE_FACTOR * (performance.now() - began), MAX_PAUSE_MS), undefined, { signal })
    dealer = part.next_dealer_id
  }
  return true
}

export default verifyLedger
