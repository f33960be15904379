/** Dealers, members and invitations in queries: what members, owners, admins and strangers see. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeMember, makePerson, mutate, outcomeOf, type Person } from '../support/members.ts'
import { makeAdmin, makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makeDealer } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let ann: Seller
let bob: Seller
let staff: Person
let admin: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  ann = await makeSeller(database, server)
  bob = await makeSellerIn(database, server, ann.country)
  staff = await makeMember(database, server, ann.dealerId, 'staff')
  admin = await makeAdmin(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

type Connection<Node> = { nodes: Node[]; totalCount: number }
type Member = {
  role: string
  userId: string
  createdAt: string
  user: { id: string; fullName: string; email: string }
}
type Dealer = {
  id: string
  myRole: string | null
  members: Connection<Member>
  invitations: Connection<{ email: string }>
}

const read = <Data>(query: string, token: string) => server.call<Data>(query, { token })
const MEMBERS = 'members { nodes { role userId createdAt user { id fullName email } } totalCount }'

test('a user finds its dealers with its roles, by the root field and by currentUser', async () => {
  const second = await makeDealer(database.owner, staff.userId, ann.country)
  const mine = [
    { id: ann.dealerId, myRole: 'STAFF' },
    { id: second, myRole: 'OWNER' },
  ]
  const query =
    '{ dealers { nodes { id myRole } totalCount } currentUser { dealers { nodes { id myRole } totalCount } } }'
  const { data } = await read(query, staff.token)
  const page = { nodes: mine, totalCount: 2 }
  expect(data).toEqual({ dealers: page, currentUser: { dealers: page } })
  const first = await read<{ currentUser: { dealers: { nodes: unknown[] } } }>(
    `{ currentUser { dealers(first: 1, condition: {id: "${second}"}) { nodes { id } } } }`,
    staff.token,
  )
  expect(first.data.currentUser.dealers.nodes).toEqual([{ id: second }])
})

test('an admin sees all dealers, and as its own only those of which it is a member', async () => {
  const query = '{ dealers(first: 100) { nodes { id myRole } } currentUser { dealers { nodes { id } } } }'
  type Data = { dealers: Connection<Dealer>; currentUser: { dealers: Connection<Dealer> } }
  const { data } = await read<Data>(query, admin)
  expect(data.dealers.nodes).toEqual(
    expect.arrayContaining([ann, bob].map(({ dealerId: id }) => ({ id, myRole: null }))),
  )
  expect(data.currentUser.dealers.nodes).toEqual([])
})

test.each([
  '{ dealers { nodes { id } } }',
  '{ dealers { totalCount } }',
  '{ currentUser { dealers { nodes { id } } } }',
])('a visitor needs a login for %s', async query => {
  expect(outcomeOf(await server.call(query))).toBe('401 unauthenticated')
})

test('members of a dealer see each other with name and address', async () => {
  for (const token of [ann.token, staff.token, admin]) {
    const { data } = await read<{ dealer: Dealer }>(`{ dealer(id: "${ann.dealerId}") { ${MEMBERS} } }`, token)
    const { nodes, totalCount } = data.dealer.members
    expect(totalCount).toBe(2)
    expect(nodes).toContainEqual({
      role: 'STAFF',
      userId: staff.userId,
      createdAt: expect.stringMatching(/Z$/),
      user: { id: staff.userId, fullName: 'Test User', email: staff.email },
    })
    expect(nodes.map(({ userId, user, role }) => [userId === user.id, role]).sort()).toEqual([
      [true, 'OWNER'],
      [true, 'STAFF'],
    ])
  }
})

test('nobody sees the users of a dealer of which it is no member', () =>
  rolledBack(database, async client => {
    await become(client, { dealer: staff.userId })
    const visible = async (sql: string, values: unknown[]) => (await client.query(sql, values)).rows
    const sql = 'select id, email from app_public.user_of_member($1, $2)'
    const { dealerId, userId } = bob
    expect(await visible(sql, [dealerId, userId])).toEqual([{ id: null, email: null }])
    // a member of another dealer cannot be read by way of an own dealer
    expect(await visible(sql, [ann.dealerId, userId])).toEqual([{ id: null, email: null }])
    expect(await visible(sql, [ann.dealerId, ann.userId])).toMatchObject([{ id: ann.userId }])
    expect(await visible('select id from app_public.users', [])).toEqual([{ id: staff.userId }])
    expect(await visible('select from app_public.dealer_users where dealer_id = $1', [dealerId])).toEqual([])
  }))

test('a stranger who was given a listing sees no member of its dealer', async () => {
  const { errors } = await read(`{ dealer(id: "${ann.dealerId}") { ${MEMBERS} } }`, bob.token)
  expect(errors.map(({ extensions }) => extensions.code)).toEqual(['not_found'])
})

test('owners and admins see the open invitations of a dealer, staff see none', async () => {
  const emails = Array.from({ length: 3 }, () => `${randomUUID()}@example.com`)
  const ids: unknown[] = []
  for (const email of emails) {
    const input = { dealerId: ann.dealerId, email, role: 'STAFF' }
    ids.push((await mutate(server, 'inviteMember', input, ann.token)).result?.id)
  }
  await mutate(server, 'revokeInvitation', { invitationId: ids[1] }, ann.token)
  await database.owner.query('update app_public.dealer_invitations set expires_at = now() where id = $1', [
    ids[2],
  ])
  const query = `{ dealer(id: "${ann.dealerId}") { invitations { nodes { email } totalCount } } }`
  const seen = async (token: string) => (await read<{ dealer: Dealer }>(query, token)).data.dealer.invitations
  const open = { nodes: [{ email: emails[0] }], totalCount: 1 }
  expect([await seen(ann.token), await seen(admin), await seen(staff.token)]).toEqual([
    open,
    open,
    { nodes: [], totalCount: 0 },
  ])
})

test('a new dealer has the role of its owner in the result of createDealer', async () => {
  const person = await makePerson(database, server)
  const query = `mutation { createDealer(input: {companyName: "X", country: "${ann.country}", dealerType: GENERAL}) { dealer { myRole } } }`
  expect((await read(query, person.token)).data).toEqual({ createDealer: { dealer: { myRole: 'OWNER' } } })
})
