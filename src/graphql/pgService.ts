/**
 * Makes PostGraphile send each statement together with the settings of its request, in one round trip and one transaction, and
 * the statements of a request one after another. PostGraphile runs root fields in parallel, so one request could take the whole
 * pool.
 */
import type { PgClient, PgClientQuery, PgClientResult, WithPgClient } from '@dataplan/pg'
import { createWithPgClient, makePgService } from '@dataplan/pg/adaptors/pg'
import type { Pool } from 'pg'
import { type Flush, runDurably } from '../database/durability.ts'
import { runInTransaction } from '../database/pipeline.ts'
import type { ConnectionUse } from '../request/request.ts'

type Options = { pool: Pool; flush: Flush; prepareStatements: boolean }

/** PostGraphile hands over nothing of a request but its settings: an object of its own for each request. */
const connectionUses = new WeakMap<object, ConnectionUse>()

/** Sets what the service calls when a mutation with these settings takes a connection and gives it back. */
export function setConnectionUse(settings: object, use: ConnectionUse): void {
  connectionUses.set(settings, use)
}

export function makeService({
  pool,
  flush,
  prepareStatements,
}: Options): GraphileConfig.PgServiceConfiguration {
  const ordinary: WithPgClient = createWithPgClient({ pool })
  const inTurn = makeTurns()
  const withPgClient: WithPgClient = (settings, callback) => {
    // PostGraphile reads the catalogs at the start, without settings.
    if (settings === null) return ordinary(null, callback)
    const client: PgClient = {
      async query<Data>({ text, values, arrayMode }: PgClientQuery): Promise<PgClientResult<Data>> {
        const statement = { text, values: values ?? [], arrayMode: arrayMode ?? false }
        const { rows, rowCount } = await inTurn(settings, () =>
          settings.transaction_read_only === 'on'
            ? runInTransaction(pool, settings, statement, prepareStatements)
            : runDurably(
                { pool, flush, keepPlan: prepareStatements, connectionUse: connectionUses.get(settings) },
                settings,
                statement,
              ),
        )
        return { rows: rows as Data[], rowCount, notices: [] }
      },
      withTransaction: work => ordinary(settings, inner => inner.withTransaction(work)),
    }
    return Promise.resolve(callback(client))
  }
  const service = makePgService({ pool, schemas: ['app_public'], pubsub: false })
  // The type demands PostGraphile's wider client, with the client of pg inside. Nothing here uses it.
  const adaptor = {
    ...service.adaptor,
    createWithPgClient: () => withPgClient,
  } as object as typeof service.adaptor
  return { ...service, adaptor }
}

/** Returns a function that runs the work of one owner in turn. The owner is the settings object: each request has its own. */
function makeTurns() {
  const last = new WeakMap<object, Promise<unknown>>()
  return <Value>(owner: object, work: () => Promise<Value>): Promise<Value> => {
    const current = last.get(owner)?.then(work, work) ?? work()
    last.set(owner, current)
    return current
  }
}
