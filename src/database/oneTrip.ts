/**
 * One statement under settings of its own, in one round trip: both are sent at once, and what the server is sent up to one
 * Sync is one transaction there (Postgres documentation, "Pipelining"), without a `begin` and a `commit` to wait for.
 */
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import pg from 'pg'

/** Names of settings of Postgres, and their values for one transaction. */
export type Settings = Readonly<Record<string, string | undefined>>

export type Statement = { text: string; values?: readonly unknown[]; arrayMode?: boolean }

/** What we use of the driver's inside; its types leave it out. */
type Wire = {
  parse(message: { name: string; text: string }): void
  bind(message: { statement: string; values: readonly string[] }): void
  execute(message: object): void
  close(message: { type: 'S'; name: string }): void
  parsedStatements: Record<string, string>
}
type DriversQuery = pg.Submittable & {
  name?: string
  hasBeenParsed(wire: Wire): boolean
  prepare(wire: Wire): void
  handleDataRow(message: unknown): void
  handleCommandComplete(message: unknown, wire: Wire): void
  handleReadyForQuery(wire: Wire): void
  handleError(error: Error, wire: Wire): void
}
const DriversQuery = pg.Query as unknown as new (config: object) => DriversQuery

/** Prepared statements that one connection keeps: clients write the documents they stem from. */
const MAXIMUM_STATEMENTS = 200

/** SQLSTATEs with which the server ends the connection. */
const ENDED = /^(57P|08)/

const names = new LRUCache<string, string>({ max: 2_000 })
const prepared = new WeakMap<Wire, Statements>()

/** Runs the statement in a transaction of its own. With `keepPlan` the connection prepares it, for the next time. */
export async function runInOneTrip(
  pool: pg.Pool,
  settings: Settings,
  statement: Statement,
  keepPlan: boolean,
): Promise<pg.QueryArrayResult> {
  const client = await pool.connect()
  let lost = false
  try {
    return await new Promise((resolve, reject) => {
      const callback = (error: Error | null, result: pg.QueryArrayResult) =>
        error ? reject(error) : resolve(result)
      client.query(new QueryUnderSettings(settings, statement, keepPlan, callback))
    })
  } catch (error) {
    // it is gone, or in a state that nobody knows
    lost = !(error instanceof pg.DatabaseError) || ENDED.test(error.code ?? '')
    throw error
  } finally {
    client.release(lost)
  }
}

class QueryUnderSettings extends DriversQuery {
  readonly #settings: { text: string; name: string; values: string[] }
  #settled = false
  readonly #parsed: string[] = []

  constructor(settings: Settings, statement: Statement, keepPlan: boolean, callback: unknown) {
    const { text, values, arrayMode } = statement
    const name = keepPlan ? nameOf(text) : undefined
    super({ text, values, name, callback, rowMode: arrayMode ? 'array' : undefined, queryMode: 'extended' })
    const entries = Object.entries(settings).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    )
    const calls = entries.map(([setting], index) => `set_config('${setting}', $${index + 1}, true)`)
    const first = `select ${calls.join(', ')}`
    this.#settings = {
      text: first,
      name: keepPlan ? nameOf(first) : '',
      values: entries.map(([, value]) => value),
    }
  }

  /** Called by the driver, which sends at once what is written here. */
  override prepare(wire: Wire): void {
    const { text, name, values } = this.#settings
    const { known, unused } = statementsOf(wire)
    for (const old of unused.splice(0)) wire.close({ type: 'S', name: old })
    for (const each of [name, this.name ?? '']) if (each !== '' && !known.get(each)) this.#parsed.push(each)
    if (!known.has(name)) wire.parse({ name, text })
    wire.bind({ statement: name, values })
    wire.execute({})
    super.prepare(wire)
  }

  override hasBeenParsed(wire: Wire): boolean {
    return this.name !== undefined && statementsOf(wire).known.has(this.name)
  }

  override handleDataRow(message: unknown): void {
    if (this.#settled) super.handleDataRow(message)
  }

  override handleCommandComplete(message: unknown, wire: Wire): void {
    if (this.#settled) super.handleCommandComplete(message, wire)
    this.#settled = true
  }

  override handleReadyForQuery(wire: Wire): void {
    for (const name of this.#parsed) statementsOf(wire).known.set(name, true)
    super.handleReadyForQuery(wire)
  }

  override handleError(error: Error, wire: Wire): void {
    // whether the server has them depends on where it stopped
    statementsOf(wire).unused.push(...this.#parsed)
    super.handleError(error, wire)
  }
}

/** What a connection has prepared, and what it is to forget before the next trip. */
type Statements = { known: LRUCache<string, true>; unused: string[] }

function statementsOf(wire: Wire): Statements {
  const found = prepared.get(wire)
  if (found !== undefined) return found
  const unused: string[] = []
  const known = new LRUCache<string, true>({
    max: MAXIMUM_STATEMENTS,
    dispose(_value, name, reason) {
      if (reason !== 'evict') return
      unused.push(name)
      delete wire.parsedStatements[name]
    },
  })
  const made = { known, unused }
  prepared.set(wire, made)
  return made
}

function nameOf(text: string): string {
  const known = names.get(text)
  if (known !== undefined) return known
  const name = createHash('sha256').update(text).digest('base64url')
  names.set(text, name)
  return name
}
