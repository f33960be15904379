/**
 * Counts refusals for missing or ambiguous configuration (409). The refused transaction is rolled back and leaves no trace, so
 * they are counted here and written to the database a moment later, outside of any request.
 */
import type { Pool } from 'pg'
import { Counter, type Registry } from 'prom-client'
import type { Logger } from '../log.ts'
import { type Fault, ownSqlstates } from '../request/errors.ts'

/** Conflicts are written once in this time, however many there are. */
const WRITE_INTERVAL_MS = 1_000
/** Time until the next attempt after a failure. */
const RETRY_MS = 15_000

const RECORD = 'select app_public.record_pricing_conflicts($1)'

/** Configuration that is missing or ambiguous. */
const CODES = new Set([ownSqlstates.FC005, ownSqlstates.FC006])

/** A row of `pricing_conflicts`. */
type Conflict = {
  country: string
  segment: string
  pricing_type: string | undefined
  configuration: string
  code: string
  count: number
}

export type ConflictRecorder = {
  /** Records an error that a client got, if it is a pricing conflict. Never waits, never fails. */
  note(fault: Fault): void
  /** Writes the conflicts that are left. */
  stop(): Promise<void>
}

type Options = { pool: Pool; registry: Registry; log: Logger }

export function makeConflictRecorder({ pool, registry, log }: Options): ConflictRecorder {
  const counter = new Counter({
    name: 'pricing_conflicts_total',
    help: 'Refusals for missing or ambiguous configuration. pricing_type none: a package.',
    labelNames: ['country', 'pricing_type', 'code'],
    registers: [registry],
  })
  const pending = new Map<string, Conflict>()
  let timer: NodeJS.Timeout | undefined
  let writing: Promise<boolean> | undefined

  function add(conflict: Conflict): void {
    const { count, ...identity } = conflict
    const key = JSON.stringify(identity)
    pending.set(key, { ...identity, count: count + (pending.get(key)?.count ?? 0) })
  }

  /** Returns whether the write succeeded. If not, the batch is kept for the next one. */
  async function write(): Promise<boolean> {
    const batch = [...pending.values()]
    pending.clear()
    try {
      await pool.query(RECORD, [JSON.stringify(batch)])
      return true
    } catch (error) {
      log.warn({ reason: (error as Error).message }, 'could not record pricing conflicts')
      batch.forEach(add)
      return false
    }
  }

  function schedule(delayMs: number): void {
    timer ??= setTimeout(async () => {
      writing = write()
      const written = await writing
      timer = undefined
      if (pending.size > 0) schedule(written ? WRITE_INTERVAL_MS : RETRY_MS)
    }, delayMs).unref()
  }

  return {
    note(fault) {
      const conflict = conflictOf(fault)
      if (conflict === undefined) return
      const { country, pricing_type = 'none', code } = conflict
      counter.inc({ country, pricing_type, code })
      add(conflict)
      schedule(WRITE_INTERVAL_MS)
    },
    async stop() {
      await writing
      clearTimeout(timer)
      if (pending.size > 0) await write()
    },
  }
}

/** Reads the detail of FC005 and FC006, which find_price and pass_pricing_gate raise. */
function conflictOf({ code, detail = {} }: Fault): Conflict | undefined {
  if (!CODES.has(code)) return undefined
  const { country, segment, pricingType, missing, ambiguous } = detail
  const configuration = missing ?? ambiguous
  if (!isText(country) || !isText(segment) || !isText(configuration)) return undefined
  const pricing_type = isText(pricingType) ? pricingType.toLowerCase() : undefined
  return { country, segment: segment.toLowerCase(), pricing_type, configuration, code, count: 1 }
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}
