/** Errors suggest names ("Did you mean") only to clients that may read the schema. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase
let open: TestServer
let hidden: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  open = await startServer(database)
  hidden = await startServer(database, { INTROSPECTION: '0' })
})

afterAll(async () => {
  await open.stop()
  await hidden.stop()
  await database.drop()
})

test('an error suggests a name only if clients may read the schema', async () => {
  const typos: [string, Record<string, unknown>?][] = [
    ['{ listingz { totalCount } }'],
    ['{ listings { totalCoun } }'],
    ['query ($c: ListingCondition) { listings(condition: $c) { totalCount } }', { c: { statuz: 'ACTIVE' } }],
    ['query ($c: ListingCondition) { listings(condition: $c) { totalCount } }', { c: { status: 'ACTIV' } }],
    ['{ listings(condition: {status: ACTIV}) { totalCount } }'],
    ['{ listings(firs: 1) { totalCount } }'],
    ['{ listings(orderBy: CREATED_AT_DES) { totalCount } }'],
    ['{ listings(condition: {statuz: ACTIVE}) { totalCount } }'],
    ['query ($c: ListingConditio) { listings(condition: $c) { totalCount } }'],
    ['{ listings { nodes { ... on Listin { id } } } }'],
    ['{ listings { nodes } }'],
    ['{ listings { nodes { dealer } } }'],
    ['mutation { createListin(input: {}) { clientMutationId } }'],
  ]
  for (const [query, variables = {}] of typos) {
    expect((await hidden.call(query, { variables })).text).not.toContain('Did you mean')
    expect((await open.call(query, { variables })).text).toContain('Did you mean')
  }
})
