/** How PostGraphile reaches the database: each statement in one round trip, under the settings of its request. */
import type { PgClient, PgClientQuery, PgClientResult, WithPgClient } from '@dataplan/pg'
import { createWithPgClient, makePgService } from '@dataplan/pg/adaptors/pg'
import type { Pool } from 'pg'
import { runInOneTrip } from '../database/oneTrip.ts'

type Options = { pool: Pool; prepareStatements: boolean }

export function makeService({ pool, prepareStatements }: Options): GraphileConfig.PgServiceConfiguration {
  const ordinary: WithPgClient = createWithPgClient({ pool })
  const withPgClient: WithPgClient = (settings, callback) => {
    // reading the catalogs at the start, which has no settings
    if (settings === null) return ordinary(null, callback)
    const client: PgClient = {
      async query<Data>({ text, values, arrayMode }: PgClientQuery): Promise<PgClientResult<Data>> {
        const statement = { text, values: values ?? [], arrayMode: arrayMode ?? false }
        const { rows, rowCount } = await runInOneTrip(pool, settings, statement, prepareStatements)
        return { rows: rows as Data[], rowCount, notices: [] }
      },
      withTransaction: work => ordinary(settings, inner => inner.withTransaction(work)),
    }
    return Promise.resolve(callback(client))
  }
  const service = makePgService({ pool, schemas: ['app_public'], pubsub: false })
  // its type also asks for the driver's own client, which nothing here uses
  const adaptor = {
    ...service.adaptor,
    createWithPgClient: () => withPgClient,
  } as object as typeof service.adaptor
  return { ...service, adaptor }
}
