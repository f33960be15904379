/** The rows that an operation names. */
import { expect, test } from '@jest/globals'
import { operationOf, parseDocument } from '../../src/request/document.ts'

const A = '0190c3a6-0000-7000-8000-00000000000a'
const B = '0190c3a6-0000-7000-8000-00000000000b'
const digits = (id: string) => id.replaceAll('-', '')

function idsOf(query: string, variables: Record<string, unknown> = {}): readonly string[] {
  const { document } = parseDocument(query)
  return (document && operationOf(document, undefined)?.ids(variables)) ?? ['no operation']
}

test.each([
  [
    'the input as a variable',
    'mutation ($input: I!) { createListing(input: $input) { x } }',
    { input: { dealerId: A } },
  ],
  ['the id as a variable', 'mutation ($a: UUID!) { createListing(input: { dealerId: $a }) { x } }', { a: A }],
  ['a default', `mutation ($a: UUID! = "${A}") { createListing(input: { dealerId: $a }) { x } }`, {}],
  ['a literal', `mutation { createListing(input: { dealerId: "${A}" }) { x } }`, {}],
  ['another spelling', `mutation { createListing(input: { dealerId: "{${A.toUpperCase()}}" }) { x } }`, {}],
  ['a row of the dealer', `mutation { cancelSubscription(input: { subscriptionId: "${A}" }) { x } }`, {}],
  ['a fragment', `mutation { ...f } fragment f on Mutation { ... { pay(invoiceId: "${A}") { x } } }`, {}],
  ['a query of a dealer', `{ quoteListing(dealerId: "${A}") { x } }`, {}],
  ['a condition', `{ listings(condition: { dealerId: "${A}" }) { x } }`, {}],
])('an id is found in %s', (_where, query, variables) => {
  expect(idsOf(query, variables)).toEqual([digits(A)])
})

test('an operation names each row once, and at most eight', () => {
  const fields = (ids: string[]) => ids.map((id, index) => `f${index}: quoteListing(dealerId: "${id}") { x }`)
  expect(idsOf(`{ ${fields([A, B, A]).join(' ')} }`)).toEqual([digits(A), digits(B)])
  const many = Array.from({ length: 20 }, (_, index) => A.slice(0, -2) + String(10 + index))
  expect(idsOf(`{ ${fields(many).join(' ')} }`)).toHaveLength(8)
})

test.each([
  ['a key', `mutation { createListing(input: { idempotencyKey: "${A}" }) { x } }`, {}],
  ['an id of another system', 'mutation { createListing(input: { externalId: "AB-1234" }) { x } }', {}],
  ['a package, which many dealers buy', `mutation { buyPackage(input: { packageId: "${A}" }) { x } }`, {}],
  ['a listing that is read', `{ listing(id: "${A}") { x } }`, {}],
  [
    'a deeper object',
    'mutation ($input: I!) { f(input: $input) { x } }',
    { input: { inner: { dealerId: A } } },
  ],
  [
    'values of other types',
    'mutation ($input: I!) { f(input: $input) { x } }',
    { input: { dealerId: [7, null] } },
  ],
  ['no variable', 'mutation ($input: I!) { f(input: $input) { x } }', {}],
  ['a fragment that spreads itself', 'mutation { ...f } fragment f on Mutation { ...f }', {}],
])('no row is named by %s', (_what, query, variables) => {
  expect(idsOf(query, variables)).toEqual([])
})
