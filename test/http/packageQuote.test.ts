/** `quotePackage` over HTTP: who may ask, and that the quote equals the invoice of the purchase. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { buyPackage } from '../support/graphqlOperations.ts'
import { makeAdmin, makeMisconfiguredSeller, makeSeller, type Seller } from '../support/seller.ts'
import { makePackage, makeUser } from '../support/testData.ts'

type Buyer = Seller & { packageId: string }

let database: TestDatabase
let server: TestServer
let admin: string
let buyer: Buyer
let stranger: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  admin = await makeAdmin(database, server)
  buyer = await withPackage(await makeSeller(database, server))
  stranger = await makeSeller(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

async function withPackage(seller: Seller): Promise<Buyer> {
  return { ...seller, packageId: await makePackage(database.owner, { country: seller.country }) }
}

async function quote({ dealerId, packageId }: Pick<Buyer, 'dealerId' | 'packageId'>, token?: string) {
  const { status, data, errors } = await server.call<{ quotePackage: Record<string, string> | null }>(
    `query ($dealerId: UUID!, $packageId: UUID!) {
      quotePackage(dealerId: $dealerId, packageId: $packageId) { netAmount vatRate vatAmount grossAmount currency }
    }`,
    { variables: { dealerId, packageId }, ...(token === undefined ? {} : { token }) },
  )
  const { code, detail } = errors[0]?.extensions ?? {}
  return { status, quote: data.quotePackage, code, detail }
}

test.each(['owner', 'staff'])('a member who is %s gets a quote', async role => {
  const userId = await makeUser(database.owner)
  await database.owner.query(
    'insert into app_public.dealer_users (dealer_id, user_id, role) values ($1, $2, $3)',
    [buyer.dealerId, userId, role],
  )
  const amounts = { netAmount: '49.00', vatRate: '19.00', vatAmount: '9.31', grossAmount: '58.31' }
  expect(await quote(buyer, await server.tokenFor(userId))).toMatchObject({
    status: 200,
    quote: { ...amounts, currency: 'EUR' },
  })
})

test('a stranger and an admin who is no member are refused, and so are a visitor and unknown ids', async () => {
  const refused = (status: number, code: string, field?: string) =>
    expect.objectContaining({ status, quote: null, code, detail: field && { field } })
  for (const token of [stranger.token, admin]) {
    expect(await quote(buyer, token)).toEqual(refused(403, 'forbidden', 'dealerId'))
  }
  expect(await quote(buyer)).toEqual(refused(401, 'unauthenticated'))
  for (const field of ['dealerId', 'packageId']) {
    expect(await quote({ ...buyer, [field]: randomUUID() }, buyer.token)).toEqual(
      refused(404, 'not_found', field),
    )
  }
})

test('a quote equals the invoice of the purchase, and is a conflict while that is unpaid', async () => {
  const seller = await withPackage(await makeSeller(database, server, { vatRate: 8.1 }))
  const quoted = await quote(seller, seller.token)
  const { data } = await buyPackage(server, seller.token, {
    dealerId: seller.dealerId,
    packageId: seller.packageId,
  })
  expect(data.buyPackage?.checkout.invoice.grossTotal).toBe(quoted.quote?.grossAmount)
  expect(await quote(seller, seller.token)).toMatchObject({ status: 409, code: 'conflict' })
})

test.each([
  ['no VAT', 'pricing_config_missing', { missing: 'vat_rate' }],
  ['two VAT rates', 'pricing_config_ambiguous', { ambiguous: 'vat_rate' }],
] as const)('a quote in a country with %s is %s', async (change, code, detail) => {
  const seller = await withPackage(await makeMisconfiguredSeller(database, server, change))
  const refused = { status: 409, quote: null, code, detail: { ...detail, country: seller.country } }
  expect(await quote(seller, seller.token)).toMatchObject(refused)
})
