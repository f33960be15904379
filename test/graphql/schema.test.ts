/** The GraphQL schema: schema.graphql describes it, and these rules hold for every field in it, also for a new one. */
import { glob, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import {
  buildClientSchema,
  type GraphQLSchema,
  getIntrospectionQuery,
  getNamedType,
  type IntrospectionQuery,
  isInputObjectType,
  isNonNullType,
  isObjectType,
  isRequiredInputField,
  lexicographicSortSchema,
  printSchema,
} from 'graphql'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase
let server: TestServer
let schema: GraphQLSchema

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  const introspection = getIntrospectionQuery({
    specifiedByUrl: true,
    inputValueDeprecation: true,
    oneOf: true,
  })
  const { data } = await server.call<IntrospectionQuery>(introspection)
  schema = buildClientSchema(data)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

function namesOf(type: string): string[] {
  const found = schema.getType(type)
  if (!isObjectType(found) && !isInputObjectType(found)) throw new Error(`there is no type ${type}`)
  return Object.keys(found.getFields()).sort()
}

/** PostGraphile adds Relay's echo to the mutations that it makes. */
const isEcho = (name: string) => name === 'clientMutationId'

/** Our source files that add a mutation to the schema. */
async function mutationsOfTypeScript(): Promise<string[]> {
  const directory = fileURLToPath(new URL('../../src', import.meta.url))
  const names: string[] = []
  for await (const path of glob('**/*.ts', { cwd: directory })) {
    const text = await readFile(join(directory, path), 'utf8')
    for (const [, body = ''] of text.matchAll(/extend type Mutation \{([^}]*)\}/g)) {
      names.push(...[...body.matchAll(/^ *(\w+)\(/gm)].map(([, name = '']) => name))
    }
  }
  return names
}

test('the schema of the API equals schema.graphql', async () => {
  const snapshot = await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8')
  expect(`${printSchema(lexicographicSortSchema(schema))}\n`).toBe(snapshot)
})

test('every mutation is one of our functions, in SQL or in TypeScript, and none is generated from a table', async () => {
  const { rows } = await database.owner.query<{ name: string }>(
    `select p.proname as name from pg_proc as p
     where p.pronamespace = 'app_public'::regnamespace and obj_description(p.oid, 'pg_proc') ~ '^@behavior .*\\+mutationField'`,
  )
  const functions = rows.map(({ name }) =>
    name.replace(/_(\w)/g, (_all, letter: string) => letter.toUpperCase()),
  )
  const own = [...functions, ...(await mutationsOfTypeScript())]
  expect(namesOf('Mutation')).toEqual(own.sort())
  expect(schema.getSubscriptionType() ?? null).toBeNull()
})

test('every mutation takes one input object and gives one field, and createApiKey the secret too', () => {
  const mutations = Object.values(schema.getMutationType()?.getFields() ?? {})
  expect(mutations.length).toBeGreaterThan(0)
  for (const { name, args, type } of mutations) {
    expect([name, ...args.map(arg => arg.name)]).toEqual([name, 'input'])
    expect([name, isInputObjectType(getNamedType(args[0]?.type))]).toEqual([name, true])
    const payload = namesOf(getNamedType(type).name).filter(field => !isEcho(field))
    expect([name, payload.length]).toEqual([name, name === 'createApiKey' ? 2 : 1])
  }
})

/** The parts that clients rely on: a mutation's required and optional input, and the field of its payload. */
const promised: Record<string, [required: string, optional: string, payload: string]> = {
  register: ['email password fullName', 'locale', 'session'],
  login: ['email password', '', 'session'],
  refreshSession: ['refreshToken', '', 'session'],
  logout: ['', 'everywhere', 'ok'],
  requestPasswordReset: ['email', '', 'ok'],
  resetPassword: ['token newPassword', '', 'session'],
  requestEmailVerification: ['', '', 'ok'],
  verifyEmail: ['token', '', 'user'],
  changeEmail: ['password newEmail', '', 'ok'],
  changePassword: ['currentPassword newPassword', '', 'session'],
  exportMyData: ['', '', 'data'],
  deleteMyAccount: ['password', '', 'ok'],
  updateProfile: ['', 'fullName locale', 'user'],
  createDealer: ['companyName country dealerType', 'idempotencyKey', 'dealer'],
  updateDealer: ['dealerId', 'companyName', 'dealer'],
  inviteMember: ['dealerId email role', '', 'invitation'],
  revokeInvitation: ['invitationId', '', 'invitation'],
  acceptInvitation: ['token', '', 'dealer'],
  createApiKey: ['dealerId name', 'expiresAt', 'apiKey secret'],
  revokeApiKey: ['apiKeyId', '', 'apiKey'],
  removeMember: ['dealerId userId', '', 'dealer'],
  setMemberRole: ['dealerId userId role', '', 'member'],
  createListing: [
    'dealerId idempotencyKey title module price currency',
    'description attributes images externalId',
    'listing',
  ],
  createListings: ['dealerId listings', '', 'results'],
  updateListing: ['listingId', 'title description attributes images price externalId', 'listing'],
  withdrawListing: ['listingId', '', 'listing'],
  markListingSold: ['listingId', '', 'listing'],
  renewListing: ['listingId idempotencyKey', '', 'listing'],
  resubmitListing: ['listingId idempotencyKey', '', 'listing'],
  promoteListing: ['listingId kind idempotencyKey', '', 'promotion'],
  moderateListing: ['listingId decision', 'reason updatedAt', 'listing'],
  buyPackage: ['dealerId packageId idempotencyKey', 'successUrl cancelUrl', 'checkout'],
  cancelCheckout: ['checkoutId', '', 'checkout'],
  cancelSubscription: ['subscriptionId', '', 'subscription'],
  payInvoice: ['invoiceId', '', 'invoice'],
  openCountry: ['country currency', 'vatRate unitPriceNet moderation listingDays', 'country'],
  closeCountry: ['country', '', 'country'],
  setPrice: ['country segment pricingType unitPriceNet', 'validFrom durationDays', 'price'],
  setVatRate: ['country vatRate', 'validFrom', 'vatRate'],
  setFreeQuota: ['country segment quotaAmount periodDays', 'validFrom', 'freeQuota'],
  savePackage: [
    'key country name priceNet durationDays listingLimit',
    'id quotaKind premiumQuota highlightQuota overage',
    'package',
  ],
  retirePackage: ['packageId', '', 'package'],
  setRateLimitPolicy: ['scope', 'maxCount windowSeconds cost mode fallback', 'rateLimitPolicy'],
  setDealerStatus: ['dealerId isActive canPublish reason', 'isTrusted', 'dealer'],
  lockUser: ['userId reason', '', 'user'],
  unlockUser: ['userId reason', '', 'user'],
  grantSubscription: ['dealerId packageId reason', '', 'subscription'],
}

test('every mutation has its row of promised parts', () => {
  expect(Object.keys(promised).sort()).toEqual(namesOf('Mutation'))
})

test.each(Object.entries(promised))(
  '%s still takes the input that clients send, and gives the field that they read',
  (name, [required, optional, payload]) => {
    const field = schema.getMutationType()?.getFields()[name]
    const input = getNamedType(field?.args[0]?.type)
    if (!isInputObjectType(input)) throw new Error(`${name} takes no input object`)
    const inputs = Object.values(input.getFields())
    const needed = inputs.filter(isRequiredInputField).map(one => one.name)
    expect(needed.sort()).toEqual(required.split(' ').filter(Boolean).sort())
    expect(inputs.map(one => one.name)).toEqual(expect.arrayContaining(optional.split(' ').filter(Boolean)))
    expect(namesOf(getNamedType(field?.type)?.name ?? '')).toEqual(expect.arrayContaining(payload.split(' ')))
  },
)

test('every type has the fields that clients read', () => {
  const named: Record<string, string> = {
    Session: 'accessToken expiresAt refreshToken refreshExpiresAt user',
    SessionUser: 'id email fullName',
    VerifiedUser: 'id email fullName emailVerifiedAt',
    User: 'id email fullName dealers',
    Dealer: 'id companyName country slots isActive canPublish isTrusted myRole members invitations apiKeys',
    Member: 'role createdAt user',
    MemberUser: 'id fullName email',
    Invitation: 'id email role expiresAt',
    Account: 'id email fullName isAdmin lockedAt createdAt',
    ApiKey: 'id name prefix createdBy createdAt expiresAt revokedAt lastUsedAt',
    SlotUsage: 'used capacity',
    Listing:
      'id status title consumption seller externalId publishedAt expiresAt rejectionReason consumptions isPremium isHighlighted promotions',
    ListingResult: 'index listing error',
    ListingError: 'code message detail',
    NewListingInput: 'idempotencyKey title module price currency description attributes images externalId',
    ListingPromotion: 'id kind startsAt endsAt consumption',
    PromotionQuote: 'source netAmount vatRate grossAmount currency subscriptionRemaining startsAt endsAt',
    Seller: 'id companyName country dealerType',
    ListingConsumption: 'kind source netAmount vatRate grossAmount currency createdBy apiKeyId',
    AuditLog: 'action resourceType resourceId actor apiKeyId',
    Checkout: 'id status invoice url expiresAt package',
    Invoice: 'id status grossTotal',
    DealerSubscription: 'id status endAt quotaKind',
    DealerPackage: 'id key priceNet priceGross vatRate currency quotaKind',
    PackageQuote: 'netAmount vatRate vatAmount grossAmount currency',
    ListingQuote: 'source netAmount vatRate grossAmount currency freeRemaining subscriptionRemaining',
  }
  for (const [type, fields] of Object.entries(named)) {
    expect(namesOf(type)).toEqual(expect.arrayContaining(fields.split(' ')))
  }
})

test('every field, argument and input field has a description, and the result of a mutation is never null', () => {
  const faults = Object.values(schema.getTypeMap()).flatMap(type => {
    if (type.name.startsWith('__') || !(isObjectType(type) || isInputObjectType(type))) return []
    return Object.values(type.getFields()).flatMap(field => {
      const parts = [field, ...('args' in field ? field.args : [])]
      const isResult = type.name.endsWith('Payload') && field.name !== 'clientMutationId'
      return [
        ...parts
          .filter(({ description }) => !description)
          .map(({ name }) => `${type.name}.${field.name}: ${name}`),
        ...(isResult && !isNonNullType(field.type) ? [`${type.name}.${field.name} may be null`] : []),
      ]
    })
  })
  expect(faults).toEqual([])
})

test('no type leads back to the whole Query, and none has a node id', () => {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || type.name.startsWith('__')) continue
    for (const field of Object.values(type.getFields())) {
      expect([field.name, getNamedType(field.type).name]).not.toContain('Query')
      expect([type.name, field.name].join('.')).not.toMatch(/\.(query|nodeId|rowId)$|^Query\.node$/)
    }
  }
})

test('the schema has no password, hash, secret or idempotency key, except that of a new API key; only admins read who is one', () => {
  const all = Object.values(schema.getTypeMap()).flatMap(type =>
    // the name of a mutation is no data
    isObjectType(type) && type !== schema.getMutationType()
      ? Object.keys(type.getFields()).map(name => `${type.name}.${name}`)
      : [],
  )
  expect(all.filter(name => /\..*(password|hash|secret|idempotency|isAdmin)/i.test(name))).toEqual([
    'Account.isAdmin',
    'CreateApiKeyPayload.secret',
  ])
})

test('every collection is a Relay connection with first, last, before and after, and no offset', () => {
  const fields = Object.values(schema.getTypeMap()).flatMap(type =>
    isObjectType(type) ? Object.values(type.getFields()) : [],
  )
  const connections = fields.filter(({ type }) => getNamedType(type).name.endsWith('Connection'))
  expect(connections.length).toBeGreaterThan(0)
  for (const { args, type } of connections) {
    const paging = ['after', 'before', 'condition', 'first', 'last', 'orderBy']
    expect(args.map(({ name }) => name).sort()).toEqual(paging)
    expect(namesOf(getNamedType(type).name)).toEqual(['edges', 'nodes', 'pageInfo', 'totalCount'])
  }
})

test('no description names a function of the database, which clients cannot call', () => {
  expect(printSchema(schema)).not.toMatch(/app_(public|private)/)
})

test('every enum value is in upper case', () => {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!('getValues' in type) || type.name.startsWith('__')) continue
    for (const { name } of type.getValues()) expect(name).toMatch(/^[A-Z][A-Z_]*$/)
  }
})
