/** Text that cannot be stored is refused in every argument and input field of the schema, with the name of the field. */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import {
  buildSchema,
  type GraphQLArgument,
  type GraphQLInputField,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isObjectType,
  isRequiredArgument,
} from 'graphql'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
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

type Place = {
  /** The root field with this argument, or with this field of an input argument. */
  shown: string
  query: (value: string) => string
  variable: (value: unknown) => { query: string; variables: Record<string, unknown> }
  field: string
}

const schema = buildSchema(await readFile('schema.graphql', 'utf8'))
const places: Place[] = [schema.getQueryType(), schema.getMutationType()].flatMap(root =>
  Object.values(root?.getFields() ?? {}).flatMap(({ name, args, type }) => {
    const selection = isObjectType(getNamedType(type)) ? '{ __typename }' : ''
    const operation = root === schema.getMutationType() ? 'mutation' : 'query'
    return args.flatMap(arg => {
      const others = args
        .filter(other => other !== arg && isRequiredArgument(other))
        .map(other => `, ${filled(other)}`)
        .join('')
      return pathsOf(arg).map(path => ({
        shown: [name, ...path].join('.'),
        field: path.at(-1) ?? '',
        query: (value: string) => `${operation} { ${name}(${literal(path, value)}${others}) ${selection} }`,
        variable: (value: unknown) => ({
          query: `${operation} ($${arg.name}: ${arg.type}) { ${name}(${arg.name}: $${arg.name}${others}) ${selection} }`,
          variables: nested(path, value),
        }),
      }))
    })
  }),
)

/** An argument with a value that its type allows. */
function filled({ name, type }: GraphQLArgument): string {
  const named = getNamedType(type)
  return `${name}: ${isEnumType(named) ? named.getValues()[0]?.name : JSON.stringify(randomUUID())}`
}

/** Every argument and input field that can be given a string, also where it is no valid value. */
function pathsOf({ name, type }: GraphQLArgument | GraphQLInputField, before: string[] = []): string[][] {
  const named = getNamedType(type)
  if (!isInputObjectType(named)) return [[...before, name]]
  return Object.values(named.getFields()).flatMap(field => pathsOf(field, [...before, name]))
}

function nested(path: string[], value: unknown): Record<string, unknown> {
  const [first = '', ...rest] = path
  return { [first]: rest.length === 0 ? value : nested(rest, value) }
}

function literal(path: string[], value: string): string {
  const [first = '', ...rest] = path
  return `${first}: ${rest.length === 0 ? value : `{${literal(rest, value)}}`}`
}

const refused = (field: string) => [422, [{ code: 'invalid_input', detail: { field } }]]
const seen = ({ status, errors }: Awaited<ReturnType<TestServer['call']>>) => [
  status,
  errors.map(({ extensions }) => extensions),
]

test('the places below include ids, enums, JSON, cursors and lists', () => {
  expect(places.map(({ shown }) => shown)).toEqual(
    expect.arrayContaining([
      'listing.id',
      'listings.after',
      'listings.orderBy',
      'createListing.input.attributes',
      'createListing.input.images',
      'createDealer.input.dealerType',
      'register.input.password',
      'createListing.input.clientMutationId',
    ]),
  )
})

test.each(places)('a NUL in $shown is 422 with its field', async ({ variable, query, field }) => {
  const { token } = seller
  for (const value of ['\0', 'a\0b', ['a', '\0'], { a: ['b', { '\0': 1 }] }, { a: { b: '\0' } }]) {
    const { query, variables } = variable(value)
    expect([value, ...seen(await server.call(query, { token, variables }))]).toEqual([
      value,
      ...refused(field),
    ])
  }
  expect(seen(await server.call(query(String.raw`"a\u0000"`), { token }))).toEqual(refused(field))
})

const UNSTORABLE = [
  '\ud800',
  'a\udfff',
  '\ud800\ud800\udc00',
  '\udc00\ud800',
  '\ufffe',
  '\uffff',
  '\ufdd0',
  '\u{1fffe}',
]

test.each(UNSTORABLE)('text with %j is 422 with its field, wherever it stands', async character => {
  const { token, dealerId } = seller
  for (const [field, value] of Object.entries({
    title: character,
    description: `a${character}`,
    images: [`https://example.com/${character}`],
    attributes: { list: [{ [character]: 1 }] },
    dealerId: character,
  })) {
    const answer = await createListing(server, token, dealerId, { [field]: value })
    expect(seen(answer)).toEqual(refused(field))
  }
})

test('escaped letters, pairs of surrogates and private use are stored unchanged', async () => {
  const { token, dealerId } = seller
  const attributes = { '🚗': 'e\u0301 \u{10fffd} \ufffd \uffee', tab: '\t\n\u0001' }
  const query =
    'mutation ($input: CreateListingInput!) { createListing(input: $input) { listing { title attributes } } }'
  const input = {
    dealerId,
    idempotencyKey: randomUUID(),
    title: '🚗 \u{1f468}\u200d\u{1f469}',
    module: 'auto',
    price: '1',
    currency: 'EUR',
    attributes,
  }
  const escaped = JSON.stringify({ query, variables: { input } }).replace(
    /[^\x20-\x7e]/g,
    unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  const response = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: escaped,
  })
  expect([response.status, await response.json()]).toEqual([
    200,
    { data: { createListing: { listing: { title: input.title, attributes } } } },
  ])
})

test('a NUL in a URL is 422 with its field, like one in a body', async () => {
  const search = new URLSearchParams({
    query: 'query ($id: UUID!) { listing(id: $id) { id } }',
    variables: JSON.stringify({ id: '\0' }),
  })
  const response = await fetch(`${server.url}/graphql?${search}`)
  const { errors } = (await response.json()) as { errors: { extensions: unknown }[] }
  expect([response.status, errors.map(({ extensions }) => extensions)]).toEqual(refused('id'))
})
