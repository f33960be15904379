/**
 * One operation for each field of Query and Mutation. A sample gives the input; the document is made from schema.graphql. A
 * query selects the plain fields of its rows and of the rows that these refer to, a mutation those of its result.
 */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import {
  buildSchema,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isObjectType,
  isRequiredArgument,
} from 'graphql'
import { makeApiKey } from '../support/apiKeys.ts'
import { createListing, type TestServer } from '../support/apiServer.ts'
import type { TestDatabase } from '../support/database.ts'
import { buyPackage } from '../support/graphqlOperations.ts'
import { makeListing, type Status } from '../support/listings.ts'
import { mailedToken } from '../support/mails.ts'
import { makeMember, makePerson, mutate } from '../support/members.ts'
import { sellPromotions } from '../support/promotions.ts'
import { makeSeller, type Seller } from '../support/seller.ts'
import { makePackage, makeSubscription } from '../support/testData.ts'
import { accountSamples, newEmail } from './accountSamples.ts'
import { adminSamples } from './adminSamples.ts'

/** The rows that samples may use. */
export type SampleWorld = {
  database: TestDatabase
  server: TestServer
  /** A dealer with a subscription and a listing, and its owner. */
  seller: Seller
  /** The token of an admin. */
  admin: string
}

export type Sample = {
  /** The seller's by default. */
  token?: string
  /** The `input` of a mutation. */
  input?: Record<string, unknown>
  /** The arguments of a query. */
  args?: Record<string, unknown>
  /** Selected besides the plain fields of a mutation's result. */
  also?: string
}

/** A mutation, or a query with required arguments, needs a sample. Each call makes its own rows, so it can run again. */
const samples: Record<string, (world: SampleWorld) => Sample | Promise<Sample>> = {
  ...accountSamples,
  createDealer: () => ({ input: { companyName: 'Test Cars', country: 'DE', dealerType: 'AUTO_DEALER' } }),
  updateDealer: ({ seller }) => ({ input: { dealerId: seller.dealerId, companyName: newEmail() } }),
  inviteMember: ({ seller }) => ({ input: { dealerId: seller.dealerId, email: newEmail(), role: 'STAFF' } }),
  revokeInvitation: async world => ({ input: { invitationId: (await invite(world, newEmail()))?.id } }),
  acceptInvitation: async world => {
    const { email, token } = await makePerson(world.database, world.server)
    await invite(world, email)
    return { token, input: { token: await mailedToken(world.database, 'invitation', email) } }
  },
  removeMember: async world => ({ input: await newMember(world) }),
  setMemberRole: async world => ({ input: { ...(await newMember(world)), role: 'OWNER' } }),
  createApiKey: async world => {
    const { token, dealerId } = await makeSeller(world.database, world.server)
    return { token, input: { dealerId, name: 'Stock' }, also: 'secret' }
  },
  revokeApiKey: async world => {
    const { token, dealerId } = await makeSeller(world.database, world.server)
    return { token, input: { apiKeyId: (await makeApiKey(world.server, token, dealerId)).id } }
  },
  createListing: ({ seller }) => ({
    input: {
      dealerId: seller.dealerId,
      idempotencyKey: randomUUID(),
      title: 'A car',
      module: 'auto',
      price: '9900',
      currency: 'EUR',
    },
    also: 'listing { consumption { source netAmount vatRate grossAmount currency } }',
  }),
  createListings: ({ seller }) => ({
    input: { dealerId: seller.dealerId, listings: [newRow(), newRow(), { ...newRow(), title: '' }] },
    also: 'results { listing { id consumption { source grossAmount } } error { code message detail } }',
  }),
  updateListing: async world => ({
    input: {
      listingId: await newListing(world),
      title: 'Another title',
      price: '9800',
      externalId: randomUUID(),
    },
  }),
  withdrawListing: async world => ({ input: { listingId: await newListing(world) } }),
  markListingSold: async world => ({ input: { listingId: await newListing(world, 'ACTIVE') } }),
  renewListing: async world => ({
    input: { listingId: await newListing(world, 'EXPIRED'), idempotencyKey: randomUUID() },
    also: 'listing { consumption { source netAmount vatRate grossAmount currency } }',
  }),
  resubmitListing: async world => ({
    input: { listingId: await newListing(world, 'REJECTED'), idempotencyKey: randomUUID() },
    also: 'listing { consumption { source netAmount vatRate grossAmount currency } }',
  }),
  promoteListing: async world => ({
    input: { ...(await promotable(world)), idempotencyKey: randomUUID() },
    also: 'promotion { consumption { kind source netAmount vatRate grossAmount currency } }',
  }),
  moderateListing: async world => ({
    token: world.admin,
    input: { listingId: await newListing(world), decision: 'APPROVE' },
  }),
  buyPackage: async ({ database, server }) => {
    const { token, dealerId, country } = await makeSeller(database, server)
    const packageId = await makePackage(database.owner, { country })
    return {
      token,
      input: { dealerId, packageId, idempotencyKey: randomUUID() },
      also: 'checkout { invoice { id status } }',
    }
  },
  cancelCheckout: async world => {
    const { token, checkoutId } = await startCheckout(world)
    return { token, input: { checkoutId } }
  },
  cancelSubscription: async ({ database, server }) => {
    const { token, dealerId, country } = await makeSeller(database, server)
    return { token, input: { subscriptionId: await makeSubscription(database.owner, dealerId, { country }) } }
  },
  payInvoice: async world => {
    const { checkoutId: invoiceId } = await startCheckout(world)
    return { token: world.admin, input: { invoiceId } }
  },
  ...adminSamples,
  checkout: async world => {
    const { token, checkoutId } = await startCheckout(world)
    return { token, args: { id: checkoutId } }
  },
  dealer: ({ seller }) => ({ args: { id: seller.dealerId } }),
  listing: async ({ server, seller }) => {
    const { data } = await createListing(server, seller.token, seller.dealerId)
    return { args: { id: data.createListing?.listing.id } }
  },
  quoteListing: ({ seller }) => ({ args: { dealerId: seller.dealerId } }),
  quotePackage: async ({ database, seller: { dealerId, country } }) => ({
    args: { dealerId, packageId: await makePackage(database.owner, { country }) },
  }),
  quotePromotion: async world => ({ args: await promotable(world) }),
  dealerPackages: async ({ database, seller: { country } }) => {
    await makePackage(database.owner, { country })
    return { args: { condition: { country } } }
  },
  listings: () => ({ args: { first: 20, orderBy: ['CREATED_AT_DESC'] } }),
  moderationQueue: ({ admin }) => ({ token: admin }),
  auditLogs: ({ admin }) => ({ token: admin }),
  pricingGaps: ({ admin }) => ({ token: admin }),
  rateLimitPolicies: ({ admin }) => ({ token: admin }),
  users: ({ admin }) => ({ token: admin }),
}

async function invite({ server, seller }: SampleWorld, email: string) {
  const input = { dealerId: seller.dealerId, email, role: 'STAFF' }
  return (await mutate(server, 'inviteMember', input, seller.token)).result
}

async function newMember({ database, server, seller: { dealerId } }: SampleWorld) {
  return { dealerId, userId: (await makeMember(database, server, dealerId, 'staff')).userId }
}

const newRow = () => ({
  idempotencyKey: randomUUID(),
  title: 'A car',
  module: 'auto',
  price: '9900',
  currency: 'EUR',
})

const newListing = ({ database, seller }: SampleWorld, status?: Status) =>
  makeListing(database.owner, seller, status)

/** An active listing in a country that sells premium placements. */
async function promotable(world: SampleWorld) {
  await sellPromotions(world.database.owner, world.seller.country)
  return { listingId: await newListing(world, 'ACTIVE'), kind: 'PREMIUM' }
}

export const schema = buildSchema(await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8'))

/** The fields of Query and Mutation in schema.graphql, which `npm run check` holds against the API. */
export const rootFields: readonly string[] = rootsOf(schema).flatMap(type => Object.keys(type.getFields()))

/** Those of Mutation. */
export const mutations: ReadonlySet<string> = new Set(
  Object.keys(schema.getMutationType()?.getFields() ?? {}),
)

/** Makes the rows of the field's sample. Returns a function that sends the operation, with the sample's token unless it gets another. */
export async function prepareSample(world: SampleWorld, name: string) {
  const root = rootsOf(schema).find(type => name in type.getFields())
  const field = root?.getFields()[name]
  if (root === undefined || field === undefined) throw new Error(`schema.graphql has no field ${name}`)
  if (!(name in samples) && field.args.some(isRequiredArgument)) {
    throw new Error(`Please add a sample of ${name} to test/graphql/samples.ts.`)
  }
  const { token = world.seller.token, input, args, also = '' } = (await samples[name]?.(world)) ?? {}
  const variables = input === undefined ? args : { input }
  const document = documentOf(root, field, Object.keys(variables ?? {}), also)
  return (as: { token?: string } = { token }) =>
    world.server.call(document, { ...as, variables: variables ?? {} })
}

function documentOf(
  root: GraphQLObjectType,
  field: GraphQLField<unknown, unknown>,
  given: string[],
  also: string,
): string {
  const args = field.args.filter(({ name }) => given.includes(name))
  const variables = args.map(({ name, type }) => `$${name}: ${type}`).join(', ')
  const values = args.map(({ name }) => `${name}: $${name}`).join(', ')
  const inParentheses = (text: string) => (text === '' ? '' : `(${text})`)
  const selection = `{ ${selectionOf(getNamedType(field.type), 1)} ${also} }`
  return `${root.name.toLowerCase()} ${inParentheses(variables)} { ${field.name}${inParentheses(values)} ${selection} }`
}

/** The plain fields of a type, and those of the objects it refers to, `levels` deep. */
function selectionOf(type: GraphQLNamedType, levels: number): string {
  if (!isObjectType(type)) return ''
  const fields = Object.values(type.getFields())
  const nodes = type.getFields().nodes
  if (nodes !== undefined)
    return `nodes { ${selectionOf(getNamedType(nodes.type), levels)} } pageInfo { hasNextPage }`
  const selected = fields.flatMap(({ name, type: fieldType, args }) => {
    const named = getNamedType(fieldType)
    if (args.length > 0 || (isObjectType(named) && levels === 0)) return []
    return [isObjectType(named) ? `${name} { ${selectionOf(named, levels - 1)} }` : name]
  })
  return selected.join(' ')
}

function rootsOf(of: GraphQLSchema): GraphQLObjectType[] {
  return [of.getQueryType(), of.getMutationType()].filter(type => type != null)
}

/** A new dealer buys a package. The checkout has the id of its invoice. */
async function startCheckout({ database, server }: SampleWorld) {
  const { token, dealerId, country } = await makeSeller(database, server)
  const packageId = await makePackage(database.owner, { country })
  const { data } = await buyPackage(server, token, { dealerId, packageId })
  return { token, checkoutId: data.buyPackage?.checkout.invoice.id }
}
