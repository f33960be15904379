/** One parsed document for every reader. */
import { expect, test } from '@jest/globals'
import { buildSchema } from 'grafast/graphql'
import { makeDocumentReader } from '../../src/graphql/documentReader.ts'
import { operationOf, parseDocument } from '../../src/request/document.ts'
import { documentLimits } from '../../src/request/documentLimits.ts'

const schema = buildSchema('type Query { a: Int, b: Int } type Mutation { c: Int, d: Int }')
const read = makeDocumentReader(schema, { rules: [], hideSuggestions: false })
const codes = (query: string) => parseDocument(query).errors.map(({ extensions }) => extensions)

test('limits, validation and plan read the same parsed document', () => {
  const query = 'query first { a }'
  const { document } = parseDocument(query)
  expect(document).toBeDefined()
  expect(read(query).document).toBe(document)
  expect(parseDocument(query).document).toBe(document)
})

test('a document of 100 kB is also parsed once', () => {
  const query = `query long { a } #${'x'.repeat(99_000)}`
  expect(parseDocument(query)).toBe(parseDocument(query))
})

test('a document with too many tokens is refused with the limit, and one with wrong syntax without it', () => {
  const { tokens } = documentLimits
  const detail = { limit: 'tokens', maximum: tokens }
  expect(codes(`{ ${'a '.repeat(tokens)} }`)).toEqual([{ code: 'invalid_input', detail }])
  // more tokens than allowed, and no document either
  expect(codes('a '.repeat(tokens + 1))).toEqual([{ code: 'invalid_input', detail }])
  expect(codes('{ a ')).toEqual([{}])
  // as many tokens as allowed: the syntax alone is wrong
  expect(codes('a '.repeat(tokens))).toEqual([{}])
})

test('a document with exactly as many tokens as allowed is read', () => {
  const { tokens } = documentLimits
  expect(parseDocument(`{ ${'a '.repeat(tokens - 2)} }`).document).toBeDefined()
})

test('an operation is found by its name, and a document with several needs one', () => {
  const document = parseDocument('query one { a a: b } query two { x: b y: b }').document
  if (document === undefined) throw new Error('the document is right')
  expect(operationOf(document, undefined)).toBeUndefined()
  expect(operationOf(document, 'three')).toBeUndefined()
  expect([...(operationOf(document, 'two')?.counts ?? [])]).toEqual([['Query.b', 2]])
  expect(operationOf(document, 'one')?.type).toBe('query')
})

test('two mutation fields are charged as nothing, because the document is refused', () => {
  const { document, errors } = parseDocument('mutation { c d }')
  expect(errors.map(({ extensions }) => extensions.detail)).toEqual([{ limit: 'mutationFields', maximum: 1 }])
  expect(document && operationOf(document, undefined)?.counts.size).toBe(0)
})

test('documents with many tokens leave the cache early, because their memory is bounded', () => {
  const large = (number: number) => `{ ${'a '.repeat(990)} q${number} }`
  const first = parseDocument(large(0))
  expect(parseDocument(large(0))).toBe(first)
  for (let number = 1; number < 100; number++) parseDocument(large(number))
  expect(parseDocument(large(0))).not.toBe(first)
})
