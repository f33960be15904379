/** Verifies the ledger, stores the result, and alerts operators if a rule is broken. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Task } from 'graphile-worker'
import { type Client, queryOneRow } from '../src/database/oneRow.ts'

type Part = { in_order: boolean; next_dealer_id: string | null }
type Check = { broken: number; seconds: number; rules: string[] }

/** After each part the task pauses for this many times its duration, so that publications keep most of every core. */
const PAUSE_FACTOR = 4
const MAX_PAUSE_MS = 200
/** Instead of the worker's timeout of a statement: on ten million rows the check takes longer. */
const CHECK_TIMEOUT_MS = 900_000
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
    // a statement may run for minutes: a stop cancels it, and the job is retried
    const cancel = () => query('select pg_cancel_backend($1)', [pid]).catch(() => {})
    abortSignal?.addEventListener('abort', cancel)
    try {
      const inOrder = await verifyListings(client, abortSignal)
      // if a part is broken, null makes check_ledger verify everything on one snapshot, to count and name the rows
      return await runCheck(client, inOrder ? now : null)
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

async function runCheck(client: Client, inOrderSince: Date | null): Promise<Check[]> {
  // a variable, because the types of pg do not know the timeout of a query
  const check = { text: CHECK, values: [inOrderSince], query_timeout: CHECK_TIMEOUT_MS }
  await client.query('begin')
  try {
    await client.query(`set local statement_timeout to ${CHECK_TIMEOUT_MS}`)
    const { rows } = await client.query<Check>(check)
    await client.query('commit')
    return rows
  } catch (error) {
    await client.query('rollback').catch(() => {})
    throw error
  }
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
