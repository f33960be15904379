/** A number that a double cannot keep is refused with the name of its field. Every other number is stored as sent. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeSeller, type Seller } from '../support/seller.ts'

let database: TestDatabase
let server: TestServer
let seller: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  seller = await makeSeller(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

type Body = { data?: unknown; errors?: { extensions: unknown }[] }

/** Sends a body as it is, because `JSON.stringify` has no way to write such a number. */
async function send(body: Buffer | string, charset = 'utf-8'): Promise<{ status: number } & Body> {
  const response = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': `application/json; charset=${charset}`,
      accept: 'application/graphql-response+json',
      authorization: `Bearer ${seller.token}`,
    },
    body,
  })
  return { status: response.status, ...((await response.json()) as Body) }
}

const fields = () =>
  `"dealerId": "${seller.dealerId}", "idempotencyKey": "${randomUUID()}", "title": "A car", "module": "auto", "price": "1", "currency": "EUR"`
const asLiteral = (json: string) => json.replace(/"(\w+)":/g, '$1:')

/** Ways to send JSON as the attributes of a listing. */
const ways: Record<string, (attributes: string) => string> = {
  'a variable': attributes =>
    JSON.stringify({
      query:
        'mutation ($input: CreateListingInput!) { createListing(input: $input) { listing { id attributes } } }',
    }).replace(/}$/, `, "variables": {"input": {${fields()}, "attributes": ${attributes}}}}`),
  'a variable of the field': attributes =>
    JSON.stringify({
      query: `mutation ($attributes: JSON) { createListing(input: {${asLiteral(fields())}, attributes: $attributes}) { listing { id attributes } } }`,
    }).replace(/}$/, `, "variables": {"attributes": ${attributes}}}`),
  'a literal': attributes =>
    JSON.stringify({
      query: `mutation { createListing(input: {${asLiteral(fields())}, attributes: ${asLiteral(attributes)}}) { listing { id attributes } } }`,
    }),
  'a default value': attributes =>
    JSON.stringify({
      query: `mutation ($attributes: JSON = ${asLiteral(attributes)}) { createListing(input: {${asLiteral(fields())}, attributes: $attributes}) { listing { id attributes } } }`,
    }),
}

const inexact = [
  '9007199254740993',
  '-9007199254740993',
  '9007199254740992',
  '1234567890123456',
  '0.1234567890123456',
  '1.0000000000000001',
  '1234567890123456e-3',
  '1e309',
  '-1e400',
  '1e-400',
  '5e-324',
  `1${'0'.repeat(310)}`,
  `0.${'0'.repeat(310)}1`,
]
const places = (number: string) => [
  `{"mileage": ${number}}`,
  `{"list": [1, {"deep": [${number}]}], "text": "1"}`,
]
const refusals = Object.keys(ways).flatMap(way =>
  inexact.flatMap(number =>
    places(number).map(attributes => ({ way, number: number.slice(0, 24), attributes })),
  ),
)

test.each(refusals)('$number in $way is 422 on its field', async ({ way, attributes }) => {
  const { status, errors } = await send(ways[way]?.(attributes) ?? '')
  expect([status, errors?.map(({ extensions }) => extensions)]).toEqual([
    422,
    [{ code: 'invalid_input', detail: { field: 'attributes' } }],
  ])
})

const exact = [
  '0',
  '-0.5',
  '123456789012345',
  '-1234567.12345678',
  '1e15',
  '1000000000000000000000',
  '0.000000000000000000001',
  '1.50000000000000000000',
  '1e308',
  '2.3e-308',
  '123456789012345e3',
  '0e999',
]
const accepted = Object.keys(ways).flatMap(way => exact.map(number => ({ way, number })))

test.each(accepted)('$number in $way is stored with its value', async ({ way, number }) => {
  const { status, errors, data } = await send(ways[way]?.(`{"a": ${number}, "b": "${'9'.repeat(40)}"}`) ?? '')
  expect([status, errors]).toEqual([200, undefined])
  const { listing } = (data as { createListing: { listing: { id: string; attributes: unknown } } })
    .createListing
  expect(listing.attributes).toEqual({ a: Number(number) + 0, b: '9'.repeat(40) })
  const same = `select (attributes -> 'a')::numeric = $2::numeric as same from app_public.listings where id = $1`
  expect((await database.superuser.query(same, [listing.id, number])).rows).toEqual([{ same: true }])
})

test('digits in strings, names and ids are not taken for numbers', async () => {
  const { status } = await send(
    ways['a variable']?.(`{"vin${'1'.repeat(30)}": "${'1'.repeat(30)} 1e999"}`) ?? '',
  )
  expect(status).toBe(200)
})

test('an inexact number for an argument of another type is 400', async () => {
  const query = 'query ($first: Int) { listings(first: $first) { nodes { id } } }'
  for (const number of ['12345678901234567890', '1e400']) {
    const body = JSON.stringify({ query }).replace(/}$/, `, "variables": {"first": ${number}}}`)
    expect((await send(body)).status).toBe(400)
  }
})

test('an inexact number in a UTF-16 body is refused too', async () => {
  const body = (number: string) => Buffer.from(ways['a variable']?.(`{"a": ${number}}`) ?? '', 'utf16le')
  expect((await send(body('9007199254740993'), 'utf-16le')).status).toBe(422)
  expect((await send(body('5'), 'utf-16le')).status).toBe(200)
})

test('an inexact number in deeply nested JSON is 400', async () => {
  for (const levels of [30, 5_000]) {
    const nested = `${'['.repeat(levels)}9007199254740993${']'.repeat(levels)}`
    expect((await send(ways['a variable']?.(`{"a": ${nested}}`) ?? '')).status).toBe(400)
  }
})
