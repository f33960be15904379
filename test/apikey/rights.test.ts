/** What an API key may do: what staff of its dealer may, and nothing for another dealer or for a person. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type ApiKey, makeApiKey } from '../support/apiKeys.ts'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { quoteListing } from '../support/graphqlOperations.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeListing } from '../support/listings.ts'
import { mailedToken } from '../support/mails.ts'
import { makePerson, mutate, outcomeOf } from '../support/members.ts'
import { promote, sellPromotions } from '../support/promotions.ts'
import { makeAdmin, makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makeSubscription } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let seller: Seller
let other: Seller
let key: ApiKey

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  await database.owner.query("update app_public.rate_limit_policies set mode = 'off'")
  seller = await makeSeller(database, server)
  other = await makeSellerIn(database, server, seller.country)
  await makeSubscription(database.owner, seller.dealerId, { country: seller.country })
  await sellPromotions(database.owner, seller.country)
  key = await makeApiKey(server, seller.token, seller.dealerId)
})

afterAll(async () => {
  expect(await brokenRules(database.owner)).toEqual([])
  await server.stop()
  await database.drop()
})

const call = (query: string, variables: Record<string, unknown> = {}, token = key.token) =>
  server.call<Record<string, Record<string, unknown>>>(query, { token, variables })

/** Sends a mutation of one input that returns a listing. */
const onListing = (name: string, input: Record<string, unknown>) =>
  call(
    `mutation ($input: ${name[0]?.toUpperCase()}${name.slice(1)}Input!) { ${name}(input: $input) { listing { id status title } } }`,
    { input },
  )

async function publish(): Promise<string> {
  const { data } = await createListing(server, key.token, seller.dealerId)
  return data.createListing?.listing.id as string
}

test('a key publishes, edits, withdraws, sells, renews, resubmits, promotes and quotes for its dealer', async () => {
  const listingId = await publish()
  expect(
    (await onListing('updateListing', { listingId, title: 'Another' })).data.updateListing,
  ).toMatchObject({
    listing: { title: 'Another' },
  })
  const outcomes = [
    await onListing('withdrawListing', { listingId }),
    await onListing('markListingSold', { listingId: await makeListing(database.owner, seller, 'ACTIVE') }),
    await onListing('renewListing', {
      listingId: await makeListing(database.owner, seller, 'EXPIRED'),
      idempotencyKey: randomUUID(),
    }),
    await onListing('resubmitListing', {
      listingId: await makeListing(database.owner, seller, 'REJECTED'),
      idempotencyKey: randomUUID(),
    }),
    await quoteListing(server, key.token, seller.dealerId),
    (await promote(server, key.token, { listingId: await makeListing(database.owner, seller, 'ACTIVE') }))
      .response,
  ]
  expect(outcomes.map(outcomeOf)).toEqual(Array(6).fill('200'))
})

test('a key publishes a batch, and the same idempotency key by a user returns the same listing', async () => {
  const listing = {
    idempotencyKey: randomUUID(),
    title: 'A car',
    module: 'auto',
    price: '1',
    currency: 'EUR',
  }
  const { data } = await call(
    'mutation ($input: CreateListingsInput!) { createListings(input: $input) { results { listing { id } } } }',
    {
      input: { dealerId: seller.dealerId, listings: [listing, { ...listing, idempotencyKey: randomUUID() }] },
    },
  )
  const results = data.createListings?.results as { listing: { id: string } }[]
  const { rows } = await database.owner.query(
    'select created_by, api_key_id from app_public.listing_consumptions where listing_id = any ($1)',
    [results.map(one => one.listing.id)],
  )
  expect(rows).toEqual(Array(2).fill({ created_by: seller.userId, api_key_id: key.id }))
  const again = await createListing(server, seller.token, seller.dealerId, listing)
  expect(again.data.createListing?.listing.id).toBe(results[0]?.listing.id)
})

test('a key reads the rows of its dealer, and of no other', async () => {
  const mine = await publish()
  const { data: theirs } = await createListing(server, other.token, other.dealerId)
  const { data, errors } = await call(
    `query ($mine: UUID!) { listing(id: $mine) { id } dealers { nodes { id myRole } }
      dealerSubscriptions { totalCount } apiKeys: dealer(id: "${seller.dealerId}") { apiKeys { totalCount } } currentUser { id } }`,
    { mine },
  )
  expect(errors).toEqual([])
  expect(data).toEqual({
    listing: { id: mine },
    dealers: { nodes: [{ id: seller.dealerId, myRole: null }] },
    dealerSubscriptions: { totalCount: 1 },
    // only owners see them
    apiKeys: { apiKeys: { totalCount: 0 } },
    currentUser: null,
  })
  const find = 'query ($id: UUID!) { listing(id: $id) { id } }'
  expect(outcomeOf(await call(find, { id: theirs.createListing?.listing.id }))).toBe('404 not_found')
})

test('a key is refused for another dealer, for one that does not exist, and where only admins may act', async () => {
  const theirs = await makeListing(database.owner, other, 'ACTIVE')
  const invoices = '{ auditLogs { totalCount } }'
  const moderate =
    'mutation ($input: ModerateListingInput!) { moderateListing(input: $input) { listing { id } } }'
  const outcomes = [
    await createListing(server, key.token, other.dealerId),
    await quoteListing(server, key.token, other.dealerId),
    await onListing('withdrawListing', { listingId: theirs }),
    await createListing(server, key.token, randomUUID()),
    await call(invoices),
    await call(moderate, { input: { listingId: theirs, decision: 'APPROVE' } }),
  ]
  expect(outcomes.map(outcomeOf)).toEqual([
    '403 forbidden',
    '403 forbidden',
    '403 forbidden',
    '404 not_found',
    '403 forbidden',
    '403 forbidden',
  ])
})

test('a key cannot do what a person does for itself: make or join a dealer, leave one, or log out', async () => {
  const { email } = await makePerson(database, server)
  await mutate(server, 'inviteMember', { dealerId: seller.dealerId, email, role: 'STAFF' }, seller.token)
  const outcomes = [
    await call('mutation ($input: CreateDealerInput!) { createDealer(input: $input) { dealer { id } } }', {
      input: { companyName: 'Test', country: seller.country, dealerType: 'GENERAL' },
    }),
    await mutate(
      server,
      'acceptInvitation',
      { token: await mailedToken(database, 'invitation', email) },
      key.token,
    ),
    await mutate(server, 'removeMember', { dealerId: seller.dealerId, userId: seller.userId }, key.token),
    await call('mutation { logout(input: { everywhere: true }) { ok } }'),
    await call('mutation { exportMyData(input: {}) { data } }'),
    await call('mutation { updateProfile(input: { locale: "de" }) { user { id } } }'),
    await call('mutation { requestEmailVerification(input: {}) { ok } }'),
    await call('mutation { deleteMyAccount(input: { password: "a password" }) { ok } }'),
  ]
  expect(outcomes.map(outcomeOf)).toEqual(Array(8).fill('403 forbidden'))
})

test('the ledger, the listing and the audit trail name the key and its maker', async () => {
  const admin = await makeAdmin(database, server)
  const id = await publish()
  await onListing('withdrawListing', { listingId: id })
  const { data } = await call(
    `{ listing(id: "${id}") { consumption { createdBy apiKeyId } }
       auditLogs(condition: { resourceId: "${id}" }) { nodes { action actor apiKeyId } } }`,
    {},
    admin,
  )
  const by = { apiKeyId: key.id }
  expect(data).toEqual({
    listing: { consumption: { createdBy: seller.userId, ...by } },
    auditLogs: { nodes: [{ action: 'WITHDRAW_LISTING', actor: seller.userId, ...by }] },
  })
  const { rows } = await database.owner.query('select created_by from app_public.listings where id = $1', [
    id,
  ])
  expect(rows).toEqual([{ created_by: seller.userId }])
})

test('what a user does names no key', async () => {
  const { data } = await createListing(server, seller.token, seller.dealerId)
  const { rows } = await database.owner.query(
    'select created_by, api_key_id from app_public.listing_consumptions where listing_id = $1',
    [data.createListing?.listing.id],
  )
  expect(rows).toEqual([{ created_by: seller.userId, api_key_id: null }])
})
