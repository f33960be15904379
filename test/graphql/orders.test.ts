/** How many orders a client may give for a connection. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { type GraphqlInProcess, startGraphql } from '../support/graphqlInProcess.ts'

let database: TestDatabase
let graphql: GraphqlInProcess

beforeAll(async () => {
  database = await cloneDatabase()
  graphql = await startGraphql(database, 1)
})

afterAll(async () => {
  await graphql.stop()
  await database.drop()
})

const orders = (count: number) => Array.from({ length: count }, () => 'CREATED_AT_DESC')
const refused = {
  errors: [{ extensions: { code: 'invalid_input', detail: { field: 'orderBy', maximum: 10 } } }],
}

test.each([
  ['rows', '{ nodes { id } }'],
  ['cursors', '{ edges { cursor } }'],
  ['a count', '{ totalCount }'],
])('a connection takes at most ten orders for %s', async (_what, selection) => {
  const document = `query ($orderBy: [ListingOrderBy!]) { listings(orderBy: $orderBy) ${selection} }`
  await expect(graphql.run(document, { orderBy: orders(10) })).resolves.toHaveProperty('listings')
  await expect(graphql.run(document, { orderBy: orders(11) })).rejects.toMatchObject(refused)
})

test('orders in the document count like those of a variable', async () => {
  const document = (count: number) => `{ listings(orderBy: [${orders(count).join(' ')}]) { nodes { id } } }`
  await expect(graphql.run(document(10))).resolves.toHaveProperty('listings')
  await expect(graphql.run(document(11))).rejects.toMatchObject(refused)
})
