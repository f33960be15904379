/** The part of a listing that strangers see: its seller, and nothing of a dealer that is closed. */
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { buildSchema, getNamedType, isObjectType } from 'graphql'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeAdmin, makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { listenToStatements, type Statements } from '../support/statements.ts'
import { makeUser } from '../support/testData.ts'

type Row = Record<string, unknown>

let statements: Statements
let database: TestDatabase
let server: TestServer
let ann: Seller
let bob: Seller
/** Bob is also the stranger for Ann's listings. A visitor has no token. */
let tokens: Record<'visitor' | 'stranger' | 'owner' | 'admin', string | undefined>
let annsListings: string[]

beforeAll(async () => {
  database = await cloneDatabase()
  statements = await listenToStatements(database.ownerUrl)
  server = await startServer({ ...database, ownerUrl: statements.relay.url })
  ann = await makeSeller(database, server)
  bob = await makeSellerIn(database, server, ann.country)
  const stranger = await server.tokenFor(await makeUser(database.owner))
  tokens = { visitor: undefined, stranger, owner: ann.token, admin: await makeAdmin(database, server) }
  annsListings = [await publish(ann), await publish(ann)].sort()
  await publish(bob)
  await database.superuser.query("update app_public.listings set status = 'active'")
})

afterAll(async () => {
  await server.stop()
  await statements.relay.cut()
  await database.drop()
})

async function publish({ token, dealerId }: Seller): Promise<string> {
  const { data } = await createListing(server, token, dealerId)
  return data.createListing?.listing.id as string
}

async function read(query: string, token?: string) {
  const { status, data, errors } = await server.call<Record<string, Row>>(query, token ? { token } : {})
  return { status, data, code: errors[0]?.extensions.code }
}

const SELLER = 'seller { id companyName country dealerType }'
const sellerOf = ({ dealerId: id, country }: Seller) => ({
  id,
  companyName: 'Test',
  country,
  dealerType: 'AUTO_DEALER',
})

test.each(['visitor', 'stranger'] as const)(
  'a %s sees the seller of a listing, and null for its dealer and its charge',
  async who => {
    const selection = `id ${SELLER} dealer { companyName } consumption { source }`
    const seen = { seller: sellerOf(ann), dealer: null, consumption: null }
    const one = await read(`{ listing(id: "${annsListings[0]}") { ${selection} } }`, tokens[who])
    expect(one).toEqual({ status: 200, data: { listing: { id: annsListings[0], ...seen } }, code: undefined })
    const page = await read(
      `{ listings(condition: {dealerId: "${ann.dealerId}"}) { nodes { ${selection} } } }`,
      tokens[who],
    )
    const nodes = annsListings.map(id => ({ id, ...seen }))
    expect(page).toEqual({ status: 200, data: { listings: { nodes } }, code: undefined })
  },
)

test('a member and an admin see seller, dealer and charge', async () => {
  for (const token of [tokens.owner, tokens.admin]) {
    const query = `{ listing(id: "${annsListings[0]}") { ${SELLER} dealer { id } consumption { source } } }`
    const listing = {
      seller: sellerOf(ann),
      dealer: { id: ann.dealerId },
      consumption: { source: 'PAID_EXTRA' },
    }
    expect((await read(query, token)).data).toEqual({ listing })
  }
})

test('a new listing has its seller', async () => {
  const { data, errors } = await server.call<{ createListing: { listing: Row } }>(
    `mutation ($input: CreateListingInput!) { createListing(input: $input) { listing { ${SELLER} } } }`,
    {
      token: bob.token,
      variables: {
        input: {
          dealerId: bob.dealerId,
          idempotencyKey: '0197f0d2-6a9e-7cc1-b3b4-5f1c3f1b2a10',
          title: 'A car',
          module: 'auto',
          price: '9900',
          currency: 'EUR',
        },
      },
    },
  )
  expect(errors).toEqual([])
  expect(data.createListing.listing.seller).toEqual(sellerOf(bob))
})

test('a page reads its sellers in its own statement, however many there are', async () => {
  const query = `{ listings { nodes { id ${SELLER} } } }`
  await read(query)
  statements.take('forecourt api')
  const { data } = await read(query)
  expect(data.listings?.nodes).toHaveLength(3)
  // the first one sets the role and the user
  expect(statements.take('forecourt api')).toHaveLength(2)
})

test('a visitor does not see a dealer, and must log in', async () => {
  const query = `{ dealer(id: "${ann.dealerId}") { companyName } }`
  expect(await read(query)).toMatchObject({ status: 401, code: 'unauthenticated' })
  expect(await read(query, tokens.stranger)).toMatchObject({ status: 404, code: 'not_found' })
})

test('listings are reached by the fields below alone', async () => {
  const schema = buildSchema(await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8'))
  const fields = Object.values(schema.getTypeMap())
    .filter(isObjectType)
    .flatMap(type =>
      Object.values(type.getFields()).map(field => ({ path: `${type.name}.${field.name}`, field })),
    )
  const toListings = fields.filter(({ field }) =>
    /^Listing(Connection|Edge)?$/.test(getNamedType(field.type).name),
  )
  expect(toListings.map(({ path }) => path).sort()).toEqual([
    'CreateListingPayload.listing',
    'ListingConnection.edges',
    'ListingConnection.nodes',
    'ListingEdge.node',
    'ListingResult.listing',
    'MarkListingSoldPayload.listing',
    'ModerateListingPayload.listing',
    'ModerationQueue.listing',
    'Query.listing',
    'Query.listings',
    'RenewListingPayload.listing',
    'ResubmitListingPayload.listing',
    'UpdateListingPayload.listing',
    'WithdrawListingPayload.listing',
  ])
})

test.each([
  ['hidden from', 'visitor'],
  ['hidden from', 'stranger'],
  ['shown to', 'owner'],
  ['shown to', 'admin'],
] as const)('the listings of a closed dealer are %s the %s', async (how, who) => {
  const isShown = how === 'shown to'
  await setActive(false)
  try {
    const token = tokens[who]
    const page = `(condition: {dealerId: "${ann.dealerId}"}) { nodes { id } edges { node { id } } totalCount }`
    const { data } = await read(`{ listings${page} }`, token)
    const ids = (isShown ? annsListings : []).map(id => ({ id }))
    expect(data.listings).toEqual({
      nodes: ids,
      edges: ids.map(node => ({ node })),
      totalCount: ids.length,
    })
    for (const id of annsListings) {
      const { code } = await read(`{ listing(id: "${id}") { id } }`, token)
      expect(code).toBe(isShown ? undefined : 'not_found')
    }
  } finally {
    await setActive(true)
  }
})

test('a row that everybody may see is not compared with the dealers of the caller', () =>
  rolledBack(database, async client => {
    await become(client, { dealer: ann.userId })
    const { rows } = await client.query<{ 'QUERY PLAN': string }>(
      'explain select id from app_public.listings',
    )
    const filter = rows.map(row => row['QUERY PLAN']).find(line => line.includes('Filter:'))
    // an OR is evaluated from left to right, and the function on the right costs several times as much
    expect(filter).toMatch(/status.*is_open_dealer.* OR .*current_dealer_ids/)
  }))

async function setActive(isActive: boolean): Promise<void> {
  await database.owner.query('update app_public.dealers set is_active = $1 where id = $2', [
    isActive,
    ann.dealerId,
  ])
}
