/**
 * One statement with the caller's role and claims in one transaction: in one round trip, the least that a client can send, or in
 * four, as it is usually written by hand.
 *
 * For one round trip, the messages of both statements go to the server before a single Sync. Postgres runs everything up to a Sync as one
 * transaction. One statement that sets the role and calls the function is not enough: Postgres checks the right to call it
 * before it sets the role.
 */
import pg from 'pg'
import type { UserIdentity } from '../../src/request/identity.ts'

export type Statement = { name: string; text: string; values: unknown[] }

type Connection = {
  /** The driver's record of prepared statements: their texts by name. */
  parsedStatements: Record<string, string>
  parse(message: { name: string; text: string }): void
  bind(message: { statement: string; values: unknown[]; valueMapper: (value: unknown) => unknown }): void
  describe(message: { type: 'P' }): void
  execute(message: object): void
  sync(): void
}

/** The types of pg leave these out. The driver calls `prepare` to write the messages of a query. */
const { Query, utils } = pg as unknown as {
  Query: new (config: object) => pg.Submittable & { prepare(connection: Connection): void }
  utils: { prepareValue(value: unknown): unknown }
}

const CLAIMS = {
  name: 'claims',
  text: "select set_config('role', $1, true), set_config('forecourt.user_id', $2, true)",
}

export type RoundTrips = 'one round trip' | 'four round trips'

export async function asCaller<Row>(
  pool: pg.Pool,
  identity: UserIdentity,
  statement: Statement,
  how: RoundTrips = 'one round trip',
): Promise<Row[]> {
  const claims = { ...CLAIMS, values: [`forecourt_${identity.role}`, identity.userId] }
  const client = await pool.connect()
  let fault: Error | undefined
  try {
    if (how === 'one round trip') {
      const results = await send(client, [claims, statement])
      return (results.at(-1)?.rows ?? []) as Row[]
    }
    await client.query('begin')
    await client.query(claims)
    const { rows } = await client.query(statement)
    await client.query('commit')
    return rows as Row[]
  } catch (error) {
    fault = error as Error
    throw error
  } finally {
    // after an error a transaction may be open, and it is uncertain which statements the server has prepared
    client.release(fault)
  }
}

function send(client: pg.PoolClient, statements: Statement[]): Promise<pg.QueryResult[]> {
  return new Promise((resolve, reject) => {
    const callback = (error: Error | null, results: pg.QueryResult[]) =>
      error ? reject(error) : resolve(results)
    const query = new Query({ text: statements.at(-1)?.text, callback, queryMode: 'extended' })
    query.prepare = connection => write(connection, statements)
    client.query(query)
  })
}

function write(connection: Connection, statements: Statement[]): void {
  const { parsedStatements } = connection
  for (const { name, text, values } of statements) {
    if (parsedStatements[name] === undefined) connection.parse({ name, text })
    parsedStatements[name] = text
    connection.bind({ statement: name, values, valueMapper: utils.prepareValue })
    connection.describe({ type: 'P' })
    connection.execute({})
  }
  connection.sync()
}
