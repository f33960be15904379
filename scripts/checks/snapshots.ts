/** Makes schema.graphql and schema.sql from the code as it is now. */
import '../../src/graphileEnvironment.ts'
import { randomBytes } from 'node:crypto'
import {
  buildClientSchema,
  getIntrospectionQuery,
  type IntrospectionQuery,
  lexicographicSortSchema,
  printSchema,
} from 'graphql'
import { startApi } from '../../src/api.ts'
import { readConfiguration } from '../../src/configuration.ts'
import { makeLog } from '../../src/log.ts'
import { describeSchema } from '../catalog/snapshot.ts'
import { asClient } from '../support/databases.ts'

/** File → text, made from a migrated database. */
export async function makeSnapshots(databaseUrl: string): Promise<Record<string, string>> {
  return {
    'schema.graphql': await describeApi(databaseUrl),
    'schema.sql': await asClient(databaseUrl, describeSchema),
  }
}

/** Asks the API itself, so that the text has everything that clients see, wherever it was made. */
async function describeApi(databaseUrl: string): Promise<string> {
  const environment = { DATABASE_URL: databaseUrl, PORT: '0', INTROSPECTION: '1' }
  const jwtSecret = randomBytes(32).toString('hex')
  const log = makeLog('warn')
  const api = await startApi(readConfiguration(environment), { databaseUrl, jwtSecret, log })
  try {
    const response = await fetch(`${api.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json' },
      body: JSON.stringify({
        query: getIntrospectionQuery({ specifiedByUrl: true, inputValueDeprecation: true, oneOf: true }),
      }),
    })
    const { data, errors } = (await response.json()) as { data?: IntrospectionQuery; errors?: unknown }
    if (data === undefined || errors !== undefined) {
      throw new Error(`The API does not answer to introspection: ${JSON.stringify(errors)}`)
    }
    return `${printSchema(lexicographicSortSchema(buildClientSchema(data)))}\n`
  } finally {
    await api.stop()
  }
}
