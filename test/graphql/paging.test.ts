/**
 * Pages of every connection, by every order. The connections come from schema.graphql, so a new one is covered by itself; it
 * fails until pagedRows.sql has rows for it.
 */
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { type GraphqlInProcess, startGraphql } from '../support/graphqlInProcess.ts'
import { type Connection, connectionNames, connections } from './connections.ts'

type Row = Record<string, unknown>
type PageInfo = {
  hasNextPage: boolean
  hasPreviousPage: boolean
  startCursor: string | null
  endCursor: string | null
}
type Page = { edges: { cursor: string; node: Row }[]; pageInfo: PageInfo }
type PageArguments = { first?: number; last?: number; after?: string; before?: string; orderBy?: string[] }

let database: TestDatabase
let graphql: GraphqlInProcess

beforeAll(async () => {
  database = await cloneDatabase()
  const rows = await readFile(new URL('pagedRows.sql', import.meta.url), 'utf8')
  await database.superuser.query(`begin; ${rows}; commit`)
  graphql = await startGraphql(database, 3, {
    userId: '00000000-0000-0000-0000-000000000000',
    role: 'admin',
  })
})

afterAll(async () => {
  await graphql.stop()
  await database.drop()
})

/** Reads a page. A connection of a row is that of the row with the most rows in it. */
async function read(connection: Connection, page: PageArguments, parentId?: string): Promise<Page> {
  const { field, parent, orderType, key, columns } = connection
  const selection = [...new Set([key, ...columns.map(({ name }) => name)])].join(' ')
  const text = `${field}(orderBy: $orderBy, first: $first, last: $last, after: $after, before: $before) {
    edges { cursor node { ${selection} } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }`
  const variables = `$orderBy: [${orderType}!], $first: Int, $last: Int, $after: Cursor, $before: Cursor`
  if (parent === undefined)
    return (await graphql.run(`query (${variables}) { ${text} }`, page))[field] as Page
  if (parent === 'currentUser') {
    const { currentUser } = await graphql.run(`query (${variables}) { currentUser { ${text} } }`, page)
    return (currentUser as Row)[field] as Page
  }
  const rows = `${parent}(condition: {id: $id}) { nodes { ${text} } }`
  const data = await graphql.run(`query ($id: UUID, ${variables}) { ${rows} }`, { ...page, id: parentId })
  return (data[parent] as { nodes: Row[] }).nodes[0]?.[field] as Page
}

/** The id of the row with the most rows in the connection. */
async function findParent({ field, parent }: Connection): Promise<string | undefined> {
  if (parent === undefined || parent === 'currentUser') return undefined
  const data = await graphql.run(`{ ${parent}(first: 100) { nodes { id ${field} { totalCount } } } }`)
  const { nodes } = data[parent] as { nodes: Row[] }
  const count = (row: Row) => (row[field] as { totalCount: number }).totalCount
  return nodes.sort((one, other) => count(other) - count(one))[0]?.id as string | undefined
}

type Reader = (page: PageArguments) => Promise<Page>

const keysOf = ({ edges }: Page, { key }: Connection) => edges.map(({ node }) => node[key])

/** The keys of all rows in the order of their pages. Ends after `most` rows, so that a page that repeats itself ends too. */
async function walk(
  read: Reader,
  connection: Connection,
  { orderBy, size, forward, most }: { orderBy: string[]; size: number; forward: boolean; most: number },
): Promise<unknown[]> {
  const keys: unknown[] = []
  let page: PageArguments | undefined = { orderBy, [forward ? 'first' : 'last']: size }
  while (page !== undefined && keys.length <= most) {
    const answer: Page = await read(page)
    const { hasNextPage, hasPreviousPage, startCursor, endCursor } = answer.pageInfo
    if (forward) keys.push(...keysOf(answer, connection))
    else keys.unshift(...keysOf(answer, connection))
    const cursor: string | null = forward ? endCursor : startCursor
    const isMore = cursor !== null && (forward ? hasNextPage : hasPreviousPage)
    page = isMore ? { ...page, [forward ? 'after' : 'before']: cursor } : undefined
  }
  return keys
}

/** Each order, and each pair of two. */
function ordersAndPairs({ orders }: Connection): string[][] {
  const pairs = orders.flatMap(one => orders.filter(other => other !== one).map(other => [one, other]))
  return [...orders.map(order => [order]), ...pairs]
}

test('schema.graphql has no connection that the tests below leave out', () => {
  expect(connections.map(({ name }) => name).sort()).toEqual([...connectionNames].sort())
})

const each = test.each(connections.map(connection => [connection.name, connection] as const))

each(
  '%s has rows with nulls and equal values, so that its pages are worth a test',
  async (_name, connection) => {
    const { edges } = await read(connection, { first: 100 }, await findParent(connection))
    expect(edges.length).toBeGreaterThanOrEqual(3)
    for (const { name, isNullable } of connection.columns) {
      const values = edges.map(({ node }) => node[name])
      if (name !== connection.key) expect([name, new Set(values).size]).not.toEqual([name, values.length])
      if (isNullable)
        expect([name, values]).toEqual([name, expect.arrayContaining([null, expect.anything()])])
    }
  },
)

each('%s meets each row once, by every order, forward and backward', async (_name, connection) => {
  const parentId = await findParent(connection)
  const reader: Reader = page => read(connection, page, parentId)
  const all = keysOf(await reader({ first: 100 }), connection).sort()
  const faults: unknown[] = []
  const examine = async (orderBy: string[]) => {
    const expected = keysOf(await reader({ orderBy, first: 100 }), connection)
    if (String([...expected].sort()) !== String(all)) faults.push({ orderBy, expected })
    for (const size of [1, 3]) {
      for (const forward of [true, false]) {
        const keys = await walk(reader, connection, { orderBy, size, forward, most: all.length })
        if (String(keys) !== String(expected)) faults.push({ orderBy, size, forward, keys, expected })
      }
    }
  }
  const left = ordersAndPairs(connection)
  const examineRest = async () => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) await examine(next)
  }
  await Promise.all(Array.from({ length: 3 }, examineRest))
  expect(faults.slice(0, 3)).toEqual([])
})

each('%s says in a page of no rows whether there are rows', async (_name, connection) => {
  const parentId = await findParent(connection)
  const pageOf = async (page: PageArguments) => {
    const { edges, pageInfo } = await read(connection, page, parentId)
    expect([edges, pageInfo.startCursor, pageInfo.endCursor]).toEqual([[], null, null])
    return [pageInfo.hasPreviousPage, pageInfo.hasNextPage]
  }
  const { startCursor, endCursor } = (await read(connection, { first: 100 }, parentId)).pageInfo
  expect(await pageOf({ first: 0 })).toEqual([false, true])
  expect(await pageOf({ last: 0 })).toEqual([true, false])
  expect(await pageOf({ first: 0, after: startCursor as string })).toEqual([false, true])
  expect(await pageOf({ first: 0, after: endCursor as string })).toEqual([false, false])
  expect(await pageOf({ last: 0, before: endCursor as string })).toEqual([true, false])
  expect(await pageOf({ last: 0, before: startCursor as string })).toEqual([false, false])
})
