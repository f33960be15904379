/** How many rows a document may return (docs/errors.md, "Row cost"). */
import { expect, test } from '@jest/globals'
import { rowCost } from '../../src/limits/charges.ts'
import { operationOf, parseDocument } from '../../src/request/document.ts'

function rowsOf(query: string, variables: Record<string, unknown> = {}): number {
  const { document } = parseDocument(query)
  const operation = document && operationOf(document, undefined)
  if (operation === undefined) throw new Error('the document has no operation')
  return operation.rows(variables)
}

test.each<[string, number]>([
  ['{ __typename currentUser { id } }', 0],
  ['{ listings { nodes { id } } }', 20],
  ['{ listings(first: 0) { nodes { id } } }', 0],
  ['{ listings(first: 7) { nodes { id dealer { id } } } }', 7],
  ['{ listings(last: 7) { edges { cursor node { id } } } }', 7],
  ['{ listings(first: null, last: 3) { nodes { id } } }', 3],
  ['{ listings(first: 100) { totalCount pageInfo { endCursor } } }', 10],
  ['{ listings(first: 100) { totalCount nodes { id } } }', 110],
  ['{ listings(first: 50) { nodes { id } edges { node { id } } more: nodes { id } } }', 150],
  ['{ a: listings(first: 50) { nodes { id } } b: listings(first: 60) { nodes { id } } }', 110],
  ['{ invoices(first: 100) { nodes { items(first: 100) { nodes { id } } } } }', 10_100],
  ['{ invoices(first: 10) { edges { node { items { totalCount nodes { id } } } } } }', 310],
  ['{ dealer { invoices(first: 5) { nodes { dealer { invoices(first: 6) { nodes { id } } } } } } }', 35],
  ['{ listings(first: 101) { nodes { id } } }', 100],
  ['{ listings(first: -1) { nodes { id } } }', 100],
  ['{ listings(first: "5") { nodes { id } } }', 100],
  ['{ listings { nodes { id } } b: listings @skip(if: true) { nodes { id } } }', 20],
  ['mutation { buyPackage { checkout { invoice { items(first: 30) { nodes { id } } } } } }', 30],
  ['{ __schema { types { fields { nodes } } } }', 0],
])('%s: %i rows', (query, rows) => {
  expect(rowsOf(query)).toBe(rows)
})

test('a fragment counts at each spread, with the page size there', () => {
  const fragment =
    'fragment F on ListingConnection { totalCount ...G } fragment G on ListingConnection { nodes { id } }'
  expect(rowsOf(`{ a: listings(first: 5) { ...F } b: listings(first: 70) { ...F ...F } } ${fragment}`)).toBe(
    10 + 5 + 2 * (10 + 70),
  )
  expect(rowsOf('{ ...F } fragment F on Query { listings { nodes { id } } ...F }')).toBe(20)
})

test('the variables of each request, or their defaults, set page sizes and conditions', () => {
  const query = `query ($n: Int = 50, $m: Int, $yes: Boolean = true) {
    a: listings(first: $n) { nodes { id } } b: listings(last: $m) @include(if: $yes) { nodes { id } }
  }`
  const cases: [Record<string, unknown>, number][] = [
    [{}, 70],
    [{ n: 1 }, 21],
    [{ n: 1, m: 2 }, 3],
    [{ n: null, m: 2 }, 22],
    [{ n: 1, m: 2, yes: false }, 1],
    [{ n: 1e9, m: '5' }, 200],
    [{ n: -1, m: { a: 1 } }, 200],
    [{}, 70],
  ]
  for (const [variables, rows] of cases)
    expect([variables, rowsOf(query, variables)]).toEqual([variables, rows])
})

test('a document of 2^60 spreads is counted within a second, and the count is finite', () => {
  const levels = Array.from({ length: 60 }, (_, n) => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`)
  const bomb = `{ ...F0 } ${levels.join(' ')} fragment F60 on Query { listings(first: 100) { nodes { id } } }`
  const startedAt = performance.now()
  expect(rowsOf(bomb)).toBe(1e9)
  const deep = `{ ${'a(first: 100) { nodes { '.repeat(70)} id ${'} }'.repeat(70)} }`
  expect(rowsOf(deep)).toBe(1e9)
  expect(performance.now() - startedAt).toBeLessThan(1_000)
})

test('100 rows cost 1, and every further 100 cost 1 more; a refused number of rows costs 1', () => {
  const cases = [0, 1, 100, 101, 200, 201, 11_000, 11_001].map(rows => [rows, rowCost(rows)])
  expect(cases).toEqual([
    [0, 1],
    [1, 1],
    [100, 1],
    [101, 2],
    [200, 2],
    [201, 3],
    [11_000, 110],
    [11_001, 1],
  ])
})
