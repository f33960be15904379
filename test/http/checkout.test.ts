/** A checkout over HTTP: its fields, who may read and cancel it, and its states. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { buyPackage, payInvoice } from '../support/graphqlOperations.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeAdmin, makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makePackage, makeUser } from '../support/testData.ts'

type Checkout = Record<string, unknown>

let database: TestDatabase
let server: TestServer
let admin: string
let buyer: Seller & { packageId: string }
let stranger: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  admin = await makeAdmin(database, server)
  const seller = await makeSeller(database, server)
  buyer = { ...seller, packageId: await makePackage(database.owner, { country: seller.country }) }
  stranger = await makeSeller(database, server)
})

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

/** Starts a purchase of a new dealer of the buyer's country, and returns the id of the checkout and the owner's token. */
async function start(): Promise<{ id: string; token: string; dealerId: string }> {
  const { token, dealerId } = await makeSellerIn(database, server, buyer.country)
  const { data } = await buyPackage(server, token, { dealerId, packageId: buyer.packageId })
  return { id: data.buyPackage?.checkout.invoice.id as string, token, dealerId }
}

const FIELDS = `id status url provider createdAt expiresAt closedAt dealerId packageId invoiceId
  package { key } invoice { id status grossTotal currency }`

async function read(id: string, token?: string) {
  const query = `query ($id: UUID!) { checkout(id: $id) { ${FIELDS} } }`
  const { status, data, errors } = await server.call<{ checkout: Checkout | null }>(query, {
    variables: { id },
    ...(token === undefined ? {} : { token }),
  })
  return { status, checkout: data.checkout, code: errors[0]?.extensions.code }
}

function cancel(checkoutId: string, token?: string) {
  return server.call<{ cancelCheckout: { checkout: Checkout } | null }>(
    `mutation ($input: CancelCheckoutInput!) { cancelCheckout(input: $input) { checkout { ${FIELDS} } } }`,
    { variables: { input: { checkoutId } }, ...(token === undefined ? {} : { token }) },
  )
}

/** The status and the refusal of a cancellation. */
async function outcome(checkoutId: string, token?: string) {
  const { status, errors } = await cancel(checkoutId, token)
  return [status, errors[0]?.extensions.code, errors[0]?.extensions.detail]
}

/** Moves the end of the offer to its start. */
async function expire(id: string): Promise<void> {
  await database.owner.query(
    'update app_public.checkouts set expires_at = created_at where invoice_id = $1',
    [id],
  )
}

test('a new checkout has what a client shows, and a member and an admin read the same', async () => {
  const { id, token, dealerId } = await start()
  const shown = {
    id,
    status: 'OPEN',
    url: null,
    provider: 'manual',
    createdAt: expect.any(String),
    expiresAt: expect.any(String),
    closedAt: null,
    dealerId,
    packageId: buyer.packageId,
    invoiceId: id,
    package: { key: expect.any(String) },
    invoice: { id, status: 'DRAFT', grossTotal: '58.31', currency: 'EUR' },
  }
  for (const reader of [token, admin]) {
    expect(await read(id, reader)).toEqual({ status: 200, checkout: shown, code: undefined })
  }
})

test('a purchase returns the id and the status of its checkout', async () => {
  const { token, dealerId } = await makeSellerIn(database, server, buyer.country)
  const input = { dealerId, packageId: buyer.packageId, idempotencyKey: randomUUID() }
  const { data } = await server.call<{ buyPackage: { checkout: Checkout } }>(
    'mutation ($input: BuyPackageInput!) { buyPackage(input: $input) { checkout { id status invoiceId } } }',
    { token, variables: { input } },
  )
  const { invoiceId } = data.buyPackage.checkout
  expect(data.buyPackage.checkout).toEqual({ id: invoiceId, status: 'OPEN', invoiceId })
})

test('a stranger gets null and not_found for a checkout, a visitor unauthenticated, as for an unknown id', async () => {
  const { id } = await start()
  const refused = (status: number, code: string) => ({ status, checkout: null, code })
  for (const any of [id, randomUUID()]) {
    expect(await read(any, stranger.token)).toEqual(refused(404, 'not_found'))
    expect(await read(any)).toEqual(refused(401, 'unauthenticated'))
  }
  expect(await read(randomUUID(), admin)).toEqual(refused(404, 'not_found'))
})

test('any owner cancels an open checkout, twice with the same response', async () => {
  const { id, dealerId } = await start()
  const userId = await makeUser(database.owner)
  await database.owner.query(
    "insert into app_public.dealer_users (dealer_id, user_id, role) values ($1, $2, 'owner')",
    [dealerId, userId],
  )
  const token = await server.tokenFor(userId)
  const first = await cancel(id, token)
  expect([first.status, first.data.cancelCheckout?.checkout]).toEqual([
    200,
    expect.objectContaining({
      id,
      status: 'CANCELLED',
      closedAt: expect.any(String),
      invoice: expect.objectContaining({ id, status: 'VOID' }),
    }),
  ])
  expect((await cancel(id, token)).text).toBe(first.text)
  expect((await read(id, token)).checkout).toEqual(first.data.cancelCheckout?.checkout)
})

test('a stranger and an admin who is no member may not cancel, nor may a visitor, and nothing changes', async () => {
  const { id, token } = await start()
  const before = await read(id, token)
  for (const other of [stranger.token, admin]) {
    expect(await outcome(id, other)).toEqual([403, 'forbidden', { field: 'dealerId' }])
  }
  expect(await outcome(id)).toEqual([401, 'unauthenticated', undefined])
  expect(await outcome(randomUUID(), token)).toEqual([404, 'not_found', { field: 'checkoutId' }])
  expect(await read(id, token)).toEqual(before)
})

test('a paid checkout is PAID and its cancellation a conflict', async () => {
  const { id, token } = await start()
  await payInvoice(server, admin, id)
  expect(await outcome(id, token)).toEqual([409, 'conflict', { field: 'checkoutId', status: 'PAID' }])
  expect((await read(id, token)).checkout).toMatchObject({ status: 'PAID', invoice: { status: 'PAID' } })
})

test('an expired checkout is EXPIRED and its cancellation a conflict, also after the next purchase', async () => {
  const { id, token, dealerId } = await start()
  await expire(id)
  for (const invoiceStatus of ['DRAFT', 'VOID']) {
    expect(await outcome(id, token)).toEqual([409, 'conflict', { field: 'checkoutId', status: 'EXPIRED' }])
    const shown = { status: 'EXPIRED', invoice: { status: invoiceStatus } }
    expect((await read(id, token)).checkout).toMatchObject(shown)
    await buyPackage(server, token, { dealerId, packageId: buyer.packageId })
  }
})

test('the invoice of a cancelled checkout cannot be paid, and the next purchase starts', async () => {
  const { id, token, dealerId } = await start()
  const purchase = { dealerId, packageId: buyer.packageId }
  const { status, errors } = await buyPackage(server, token, purchase)
  expect([status, errors[0]?.extensions]).toMatchObject([
    409,
    { code: 'conflict', detail: { checkoutId: id, invoiceId: id } },
  ])
  await cancel(id, token)
  const refused = await payInvoice(server, admin, id)
  expect([refused.status, refused.errors[0]?.extensions]).toEqual([
    409,
    { code: 'conflict', detail: { field: 'invoiceId', status: 'VOID' } },
  ])
  expect((await buyPackage(server, token, purchase)).status).toBe(200)
})
