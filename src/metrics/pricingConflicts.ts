/**
 * Makes refusals for missing or ambiguous configuration (409) visible: the refused transaction is rolled back and leaves
 * nothing, so they are counted here and added up in the database a moment later, outside of any request.
 */
import type { Pool } from 'pg'
import { Counter, type Registry } from 'prom-client'
import type { Logger } from '../log.ts'
import { type Fault, ownSqlstates } from '../request/errors.ts'

/** How long conflicts are gathered: a storm of them costs one statement in this time. */
const GATHER_MS = 1_000
/** How long to leave the database alone after a failure, in milliseconds. */
const PAUSE_MS = 15_000

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
  /** Notes an error that a client was told; of other kinds nothing is kept. Never waits, never fails. */
  note(fault: Fault): void
  /** Writes down what is left. */
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
  const gathered = new Map<string, Conflict>()
  let timer: NodeJS.Timeout | undefined
  let writing: Promise<boolean> | undefined

  function gather(conflict: Conflict): void {
    const { count, ...identity } = conflict
    const key = JSON.stringify(identity)
    gathered.set(key, { ...identity, count: count + (gathered.get(key)?.count ?? 0) })
  }

  /** Whether it could be written; what could not is gathered again. */
  async function write(): Promise<boolean> {
    const batch = [...gathered.values()]
    gathered.clear()
    try {
      await pool.query(RECORD, [JSON.stringify(batch)])
      return true
    } catch (error) {
      log.warn({ reason: (error as Error).message }, 'could not record pricing conflicts')
      batch.forEach(gather)
      return false
    }
  }

  function schedule(delay: number): void {
    timer ??= setTimeout(async () => {
      writing = write()
      const written = await writing
      timer = undefined
      if (gathered.size > 0) schedule(written ? GATHER_MS : PAUSE_MS)
    }, delay).unref()
  }

  return {
    note(fault) {
      const conflict = conflictOf(fault)
      if (conflict === undefined) return
      const { country, pricing_type = 'none', code } = conflict
      counter.inc({ country, pricing_type, code })
      gather(conflict)
      schedule(GATHER_MS)
    },
    async stop() {
      await writing
      clearTimeout(timer)
      if (gathered.size > 0) await write()
    },
  }
}

/** What find_price and pass_pricing_gate tell in the detail of FC005 and FC006. */
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
