/** Who may call the mutations for a dealer: its owners, its staff, and nobody else. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { makeApiKey } from '../support/apiKeys.ts'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { buyPackage, quoteListing } from '../support/graphqlOperations.ts'
import {
  type MemberMutation,
  makeMember,
  makePerson,
  mutate,
  outcomeOf,
  type Person,
} from '../support/members.ts'
import { makeAdmin, makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makePackage, makeSubscription } from '../support/testData.ts'

type Input = Record<string, unknown>

let database: TestDatabase
let server: TestServer
let seller: Seller
let staff: Person
/** Callers who may not act for the dealer at all. */
let others: Record<string, string | undefined>

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  seller = await makeSeller(database, server)
  staff = await makeMember(database, server, seller.dealerId, 'staff')
  others = {
    'the owner of another dealer': (await makeSellerIn(database, server, seller.country)).token,
    'an admin': await makeAdmin(database, server),
    'an API key of the dealer': (await makeApiKey(server, seller.token, seller.dealerId)).token,
  }
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

const newEmail = () => `${randomUUID()}@example.com`

/** For each mutation of owners, an input that succeeds. */
const inputs: Record<
  Exclude<MemberMutation, 'acceptInvitation'>,
  (dealer: Seller) => Input | Promise<Input>
> = {
  inviteMember: ({ dealerId }) => ({ dealerId, email: newEmail(), role: 'STAFF' }),
  revokeInvitation: async ({ dealerId, token }) => {
    const input = { dealerId, email: newEmail(), role: 'STAFF' }
    return { invitationId: (await mutate(server, 'inviteMember', input, token)).result?.id }
  },
  removeMember: async ({ dealerId }) => ({
    dealerId,
    userId: (await makeMember(database, server, dealerId, 'owner')).userId,
  }),
  setMemberRole: async ({ dealerId }) => ({
    dealerId,
    userId: (await makeMember(database, server, dealerId, 'staff')).userId,
    role: 'OWNER',
  }),
  createApiKey: ({ dealerId }) => ({ dealerId, name: 'Stock' }),
  revokeApiKey: async ({ dealerId, token }) => ({
    apiKeyId: (await makeApiKey(server, token, dealerId)).id,
  }),
  updateDealer: ({ dealerId }) => ({ dealerId, companyName: newEmail() }),
  buyPackage: async ({ dealerId, country }) => ({
    dealerId,
    packageId: await makePackage(database.owner, { country }),
    idempotencyKey: randomUUID(),
  }),
  cancelCheckout: async ({ dealerId, country, token }) => {
    const packageId = await makePackage(database.owner, { country })
    await database.owner.query('update app_public.checkouts set closed_at = now() where closed_at is null')
    const { data } = await buyPackage(server, token, { dealerId, packageId })
    return { checkoutId: data.buyPackage?.checkout.invoice.id }
  },
  cancelSubscription: async ({ dealerId, country }) => ({
    subscriptionId: await makeSubscription(database.owner, dealerId, { country }),
  }),
}

const mutations = Object.keys(inputs) as (keyof typeof inputs)[]

test.each(mutations)('only an owner of the dealer may call %s', async name => {
  const input = await inputs[name](seller)
  const outcomes: Record<string, string> = {}
  for (const [who, token] of Object.entries({
    ...others,
    staff: staff.token,
    visitor: undefined,
    owner: seller.token,
  })) {
    outcomes[who] = (await mutate(server, name, input, token)).outcome
  }
  expect(outcomes).toEqual({
    'the owner of another dealer': '403 forbidden',
    'an admin': '403 forbidden',
    'an API key of the dealer': '403 forbidden',
    staff: '403 forbidden',
    visitor: '401 unauthenticated',
    owner: '200',
  })
})

test('staff publish and ask for quotes, and read the rows of the dealer', async () => {
  const { token } = staff
  expect(outcomeOf(await createListing(server, token, seller.dealerId))).toBe('200')
  expect(outcomeOf(await quoteListing(server, token, seller.dealerId))).toBe('200')
  const { data } = await server.call<{ invoices: { totalCount: number } }>('{ invoices { totalCount } }', {
    token,
  })
  expect(data.invoices.totalCount).toBeGreaterThan(0)
})

test('a new role and a removal are in force at once, with the token of before', async () => {
  const { dealerId, token } = await makeSellerIn(database, server, seller.country)
  const person = await makeMember(database, server, dealerId, 'staff')
  const rename = async () =>
    (await mutate(server, 'updateDealer', { dealerId, companyName: newEmail() }, person.token)).outcome
  const member = { dealerId, userId: person.userId }
  const outcomes = [await rename()]
  for (const role of ['OWNER', 'STAFF']) {
    const { result } = await mutate(server, 'setMemberRole', { ...member, role }, token)
    expect(result).toEqual({ role, user: { id: person.userId } })
    outcomes.push(await rename())
  }
  await mutate(server, 'setMemberRole', { ...member, role: 'OWNER' }, token)
  await mutate(server, 'removeMember', member, token)
  expect([...outcomes, await rename()]).toEqual(['403 forbidden', '200', '403 forbidden', '403 forbidden'])
  expect(outcomeOf(await createListing(server, person.token, dealerId))).toBe('403 forbidden')
})

test.each(mutations.filter(name => !/^(buy|cancel|revokeApi)/.test(name)))(
  'a closed dealer refuses %s',
  async name => {
    const closed = await makeSellerIn(database, server, seller.country)
    const input = await inputs[name](closed)
    await database.owner.query('update app_public.dealers set is_active = false where id = $1', [
      closed.dealerId,
    ])
    expect((await mutate(server, name, input, closed.token)).outcome).toBe('403 forbidden')
  },
)

test.each(['removeMember', 'setMemberRole', 'inviteMember', 'updateDealer', 'createApiKey'] as const)(
  'a dealer that does not exist is not found by %s',
  async name => {
    const input = { ...(await inputs[name](seller)), dealerId: randomUUID() }
    const { outcome, errors } = await mutate(server, name, input, seller.token)
    expect([outcome, errors[0]?.extensions.detail]).toEqual(['404 not_found', { field: 'dealerId' }])
  },
)

test.each(['removeMember', 'setMemberRole'] as const)('%s finds no user who is no member', async name => {
  const { userId } = await makePerson(database, server)
  const input = { dealerId: seller.dealerId, userId, ...(name === 'setMemberRole' ? { role: 'STAFF' } : {}) }
  const { outcome, errors } = await mutate(server, name, input, seller.token)
  expect([outcome, errors[0]?.extensions.detail]).toEqual(['404 not_found', { field: 'userId' }])
})

test('staff may leave, and the last owner may neither leave nor become staff', async () => {
  const { dealerId, userId, token } = await makeSellerIn(database, server, seller.country)
  const person = await makeMember(database, server, dealerId, 'staff')
  const leave = { dealerId, userId: person.userId }
  expect((await mutate(server, 'removeMember', leave, person.token)).result).toEqual({ id: dealerId })
  const last = { dealerId, userId }
  const locked = await makeMember(database, server, dealerId, 'owner')
  await database.owner.query('update app_public.users set locked_at = now() where id = $1', [locked.userId])
  const refused = [
    await mutate(server, 'removeMember', last, token),
    await mutate(server, 'setMemberRole', { ...last, role: 'STAFF' }, token),
  ]
  expect(refused.map(({ outcome }) => outcome)).toEqual(['409 conflict', '409 conflict'])
  expect(refused.map(({ errors }) => errors[0]?.extensions.detail)).toEqual([
    { field: 'userId' },
    { field: 'userId' },
  ])
  await database.owner.query('update app_public.users set locked_at = null where id = $1', [locked.userId])
  expect((await mutate(server, 'removeMember', last, token)).outcome).toBe('200')
})

test('members leave a dealer that is closed, except its last owner', async () => {
  const { dealerId, userId, token } = await makeSellerIn(database, server, seller.country)
  const members = [
    await makeMember(database, server, dealerId, 'staff'),
    await makeMember(database, server, dealerId, 'owner'),
    { userId, token },
  ]
  await database.owner.query('update app_public.dealers set is_active = false where id = $1', [dealerId])
  const outcomes: string[] = []
  for (const member of members) {
    const leave = { dealerId, userId: member.userId }
    outcomes.push((await mutate(server, 'removeMember', leave, member.token)).outcome)
  }
  expect(outcomes).toEqual(['200', '200', '409 conflict'])
})

test('updateDealer stores a trimmed name in NFC, leaves what is absent, and refuses a bad name with its field', async () => {
  const { dealerId, token } = await makeSellerIn(database, server, seller.country)
  const update = (input: Input) => mutate(server, 'updateDealer', { dealerId, ...input }, token)
  expect((await update({ companyName: '  Rene\u0301 Cars ' })).result?.companyName).toBe('Ren\u00e9 Cars')
  expect((await update({})).result?.companyName).toBe('Ren\u00e9 Cars')
  expect((await update({ companyName: null })).result?.companyName).toBe('Ren\u00e9 Cars')
  for (const companyName of ['', 'a\nb', 'x'.repeat(201)]) {
    const { outcome, errors } = await update({ companyName })
    expect([outcome, errors[0]?.extensions.detail]).toEqual(['422 invalid_input', { field: 'companyName' }])
  }
})
