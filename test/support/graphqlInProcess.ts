/** The API without HTTP, which would take most of the time of a test that sends many queries. */
import { randomUUID } from 'node:crypto'
import { grafast } from 'grafast'
import type pg from 'pg'
import { authenticator } from '../../src/database/authenticator.ts'
import { makeFlush } from '../../src/database/durability.ts'
import { makePool } from '../../src/database/pool.ts'
import { makeGraphql } from '../../src/graphql/instance.ts'
import { listingFiltersPlugins } from '../../src/graphql/listingFilters.ts'
import { LookupsPlugin } from '../../src/graphql/lookups.ts'
import { membersPlugins } from '../../src/graphql/members.ts'
import { makePreset } from '../../src/graphql/preset.ts'
import type { UserIdentity } from '../../src/request/identity.ts'
import type { TestDatabase } from './database.ts'
import { makeAdminUser } from './testData.ts'

export type GraphqlInProcess = {
  /** The connections of the API. */
  pool: pg.Pool
  /** Runs a query and returns its data. An error fails the test. */
  run(source: string, variables?: Record<string, unknown>): Promise<Record<string, unknown>>
  stop(): Promise<void>
}

/**
 * Makes the API over a database, for an admin, who sees all rows, or another user; null: a visitor. With one connection, all its
 * statements run in one backend.
 */
export async function startGraphql(
  database: TestDatabase,
  connections = 3,
  given?: Omit<UserIdentity, 'sessionId'> | null,
): Promise<GraphqlInProcess> {
  const identity =
    given === undefined ? { userId: await makeAdminUser(database.owner), role: 'admin' } : given
  const { config } = authenticator({ databaseUrl: database.ownerUrl })
  const pool = makePool({ config, name: 'in process', size: connections, onError: () => {} })
  const preset = makePreset({
    pool,
    flush: makeFlush(pool, false),
    prepareStatements: false,
    log: () => {},
    onFault: () => {},
    constraintMessages: new Map(),
    introspection: true,
    graphiql: false,
    plugins: [LookupsPlugin, ...membersPlugins, ...listingFiltersPlugins],
  })
  const graphql = await makeGraphql(preset)
  const schema = await graphql.getSchema()
  return {
    pool,
    async run(source, variableValues = {}) {
      const { data, errors } = (await grafast({
        schema,
        source,
        variableValues,
        resolvedPreset: graphql.getResolvedPreset(),
        requestContext: {
          node: {
            req: { identity: identity === null ? undefined : { ...identity, sessionId: randomUUID() } },
          },
        } as object,
      })) as { data: Record<string, unknown>; errors?: readonly Error[] }
      if (errors) throw new AggregateError(errors, errors.map(({ message }) => message).join('\n'))
      return data
    },
    async stop() {
      await graphql.release()
      await pool.end()
    },
  }
}
