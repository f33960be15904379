/**
 * Runs one statement under settings of its own, in one round trip and one transaction.
 *
 * Settings and statement go to the server together, before a single Sync. Postgres runs everything up to a Sync as one
 * transaction: all of it commits or none of it, and after an error it skips the rest.
 *
 * Why not the driver's own pipelining (`pipeline: true`, pg 8.23): it sends a Sync after each query, so it needs `begin` and
 * `commit` as well. A read by primary key then took 1.4 times the CPU in Node and in Postgres, measured side by side on two cores.
 * And when a cancel request stops the `begin`, the statement commits outside the transaction: 2 of 2,546 under constant cancels.
 */
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import pg from 'pg'
import { CHANGED_RESULT } from './pool.ts'

/** Names and values of Postgres settings that hold for one transaction. An undefined value is not sent. */
export type Settings = Readonly<Record<string, string | undefined>>

export type Statement = { text: string; values?: readonly unknown[]; arrayMode?: boolean }

/** A statement as the connection gets it. An empty name means that the server does not keep its plan. */
type Step = { name: string; text: string; values: readonly unknown[] }

/**
 * SQLSTATEs of a statement whose columns a migration has changed: those of a prepared statement (0A000), or those of a function's
 * result while the function waited for the migration's lock (42804).
 */
const RESULT_CHANGED = new Set([CHANGED_RESULT, '42804'])

/** The methods of the driver's connection that we call. The types of pg ask for more arguments than the code of pg does. */
type Connection = {
  parse(message: Pick<Step, 'name' | 'text'>): void
  bind(message: { statement: string; values: Step['values']; valueMapper: (value: unknown) => unknown }): void
  describe(message: { type: 'P' }): void
  execute(message: object): void
  close(message: { type: 'S'; name: string }): void
  sync(): void
}

/** The types of pg leave these out. The driver calls `prepare` to write the messages of a query. */
const { Query, utils } = pg as unknown as {
  Query: new (config: object) => pg.Submittable & { prepare(connection: Connection): void }
  utils: { prepareValue(value: unknown): unknown }
}

/** Prepared statements per connection. Clients choose the documents that they stem from, so there must be a limit. */
const MAX_PREPARED_STATEMENTS = 200

/** SQLSTATEs with which the server also closes the connection: connection errors, shutdown, timeouts of a transaction. */
const CONNECTION_CLOSED = /^(08|57P|25P0[34])/

/** Statements by name that were sent to a connection: true if the server has prepared it, false if that is uncertain. */
type Prepared = LRUCache<string, boolean>

const preparedOn = new WeakMap<Connection, Prepared>()
const names = new LRUCache<string, string>({ max: 2_000 })

/** With `keepPlan` the connection prepares the statement and uses the plan again. */
export async function runInTransaction(
  pool: pg.Pool,
  settings: Settings,
  statement: Statement,
  keepPlan: boolean,
): Promise<pg.QueryArrayResult> {
  return (await run(pool, settings, statement, keepPlan)).at(-1) as pg.QueryArrayResult
}

/** Also returns the value of an SQL expression, evaluated in the same transaction. */
export async function runAndReport(
  pool: pg.Pool,
  settings: Settings,
  statement: Statement,
  keepPlan: boolean,
  expression: string,
): Promise<{ result: pg.QueryArrayResult; report: unknown }> {
  const [first, result] = await run(pool, settings, statement, keepPlan, expression)
  return { result: result as pg.QueryArrayResult, report: Object.values(first?.rows[0] ?? {}).at(-1) }
}

async function run(
  pool: pg.Pool,
  settings: Settings,
  statement: Statement,
  keepPlan: boolean,
  ...expressions: string[]
): Promise<pg.QueryArrayResult[]> {
  const entries = Object.entries(settings).filter(([, value]) => value !== undefined)
  const calls = entries.map(([setting], index) => `set_config('${setting}', $${index + 1}, true)`)
  const step = (text: string, values: Step['values']) => ({
    text,
    values,
    name: keepPlan ? nameOf(text) : '',
  })
  const first = step(
    `select ${[...calls, ...expressions].join(', ')}`,
    entries.map(([, value]) => value),
  )
  const second = step(statement.text, statement.values ?? [])
  const client = await pool.connect()
  let isLost = false
  try {
    return await sendWithRetry(client, [first, second], statement.arrayMode ? 'array' : undefined)
  } catch (error) {
    // without an SQLSTATE, the state of the connection is unknown
    isLost = !(error instanceof pg.DatabaseError) || CONNECTION_CLOSED.test(error.code ?? '')
    throw error
  } finally {
    client.release(isLost)
  }
}

/**
 * Sends the steps once more, without prepared statements, if a migration has changed the columns. That is safe: the transaction
 * failed as a whole, so nothing is written.
 */
async function sendWithRetry(
  client: pg.PoolClient,
  steps: Step[],
  rowMode?: 'array',
): Promise<pg.QueryArrayResult[]> {
  try {
    return await send(client, steps, rowMode)
  } catch (error) {
    if (!(error instanceof pg.DatabaseError && RESULT_CHANGED.has(error.code ?? ''))) throw error
    const unprepared = steps.map(step => ({ ...step, name: '' }))
    return send(client, unprepared, rowMode)
  }
}

/** Sends all steps in one transaction, and resolves with the result of each. */
function send(client: pg.PoolClient, steps: Step[], rowMode?: 'array'): Promise<pg.QueryArrayResult[]> {
  return new Promise((resolve, reject) => {
    let confirm = () => {}
    const callback = (error: Error | null, results: pg.QueryArrayResult[]) => {
      if (error) return reject(error)
      confirm()
      resolve(results)
    }
    const text = steps.at(-1)?.text
    const query = new Query({ text, rowMode, callback, queryMode: 'extended' })
    query.prepare = connection => {
      confirm = write(connection, steps)
    }
    client.query(query)
  })
}

/** Writes the messages of all steps. Call the returned function once all have succeeded. */
function write(connection: Connection, steps: Step[]): () => void {
  const prepared = preparedStatements(connection)
  const unprepared = steps.filter(({ name }) => prepared.get(name) !== true)
  const named = unprepared.filter(({ name }) => name !== '')
  // Close comes first, where no error can make the server skip it. To close an unknown name is no error.
  for (const { name } of named) {
    prepared.set(name, false)
    connection.close({ type: 'S', name })
  }
  for (const step of steps) {
    const { name, values } = step
    if (unprepared.includes(step)) connection.parse(step)
    connection.bind({ statement: name, values, valueMapper: utils.prepareValue })
    connection.describe({ type: 'P' })
    connection.execute({})
  }
  connection.sync()
  return () => {
    for (const { name } of named) prepared.set(name, true)
  }
}

function preparedStatements(connection: Connection): Prepared {
  const found = preparedOn.get(connection)
  if (found !== undefined) return found
  const prepared: Prepared = new LRUCache({
    max: MAX_PREPARED_STATEMENTS,
    dispose(_isPrepared, name, reason) {
      if (reason === 'evict') connection.close({ type: 'S', name })
    },
  })
  preparedOn.set(connection, prepared)
  return prepared
}

/**
 * The name of a statement depends on its text alone: behind a pooler that hands out server connections without care for
 * prepared statements, a wrong name would run another statement.
 */
function nameOf(text: string): string {
  const known = names.get(text)
  if (known !== undefined) return known
  const name = createHash('sha256').update(text).digest('base64url')
  names.set(text, name)
  return name
}
