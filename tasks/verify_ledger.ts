/** Verifies the books, keeps the result, and has operators told when a rule is broken. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Task } from 'graphile-worker'
import { type Client, one } from '../src/database/oneRow.ts'

type Part = { in_order: boolean; next_dealer_id: string | null }
type Check = { broken: number; seconds: number; rules: string[] }

/** Times as long as the part before took, and at most so many milliseconds: publications have most of every core. */
const REST = 4
const LONGEST_REST = 200
const FIRST_DEALER = '00000000-0000-0000-0000-000000000000'

const CHECK = `
  select c.broken, extract(epoch from c.finished_at - c.started_at)::float8 as seconds,
    array(select f ->> 'rule' from jsonb_array_elements(c.findings) as f) as rules
  from app_private.check_ledger($1) as c`

const verifyLedger: Task = async (_payload, { abortSignal, logger, query, withPgClient }) => {
  const [check] = await withPgClient(async client => {
    const { pid, now } = await one<{ pid: number; now: Date }>(
      client,
      'select pg_backend_pid() as pid, clock_timestamp() as now',
    )
    // a statement may run for a minute, and a stop does not wait that long; the job is tried again
    const cancel = () => query('select pg_cancel_backend($1)', [pid]).catch(() => {})
    abortSignal?.addEventListener('abort', cancel)
    try {
      const inOrder = await verifyListings(client, abortSignal)
      // what is broken is looked for once more, at once and on one snapshot, to be counted and named
      return (await client.query<Check>(CHECK, [inOrder ? now : null])).rows
    } finally {
      abortSignal?.removeEventListener('abort', cancel)
    }
  })
  if (check === undefined) throw new Error('the check of the books gave no result')
  const { broken, seconds, rules } = check
  const took = `in ${seconds.toFixed(1)} s`
  if (broken === 0) logger.info(`the books are in order, verified ${took}`)
  else logger.error(`${broken} rows of the books break a rule, found ${took}: ${rules.join('; ')}`)
}

/** The most of the work, dealers by dealers, with rests; whether all are in order. */
async function verifyListings(client: Client, signal: AbortSignal | undefined): Promise<boolean> {
  let dealer: string | null = FIRST_DEALER
  while (dealer !== null) {
    const began = performance.now()
    const part: Part = await one(client, 'select * from app_private.verify_listings_from($1)', [dealer])
    if (!part.in_order) return false
    await sleep(Math.min(REST * (performance.now() - began), LONGEST_REST), undefined, { signal })
    dealer = part.next_dealer_id
  }
  return true
}

export default verifyLedger
