/** Changes of members that meet: a dealer keeps an owner, and an invitation makes one member. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { rolesOf } from '../support/members.ts'
import { makeCountry, makeDealer, makeUser, single } from '../support/testData.ts'
import { committed, concurrently, countOutcomes, interleave, sqlstate } from '../support/transactions.ts'

const REMOVE = 'select app_public.remove_member($1, $2)'
const DEMOTE = "select app_public.set_member_role($1, $2, 'staff')"
const INVITE = "select id from app_public.invite_member($1, $2, 'staff', $3, $4)"
const ACCEPT = 'select id from app_public.accept_invitation($1)'

let database: TestDatabase
let dealerId: string
let ada: string
let bob: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
})

afterAll(() => database.drop())

/** A dealer with two owners. */
async function makeTwoOwners(): Promise<void> {
  ada = await makeUser(database.owner)
  bob = await makeUser(database.owner)
  dealerId = await makeDealer(database.owner, ada)
  await database.owner.query("insert into app_public.dealer_users values ($1, $2, 'owner')", [dealerId, bob])
}

async function invite(email: string): Promise<Buffer> {
  const hash = randomBytes(32)
  await committed(database, { dealer: ada }, client => client.query(INVITE, [dealerId, email, hash, hash]))
  return hash
}

test('of two owners who leave at once, one stays', async () => {
  await makeTwoOwners()
  await interleave(
    database,
    { first: { dealer: ada }, second: { dealer: bob } },
    async ({ first, second }) => {
      await first.query(REMOVE, [dealerId, ada])
      const { result } = await second.startBlocked(REMOVE, [dealerId, bob])
      await first.commit()
      expect(await sqlstate(result)).toBe('FC008')
    },
  )
  expect(await rolesOf(database, dealerId)).toEqual({ [bob]: 'owner' })
})

test('of two owners who demote each other at once, the first one succeeds, and the second one has no right any more', async () => {
  await makeTwoOwners()
  await interleave(
    database,
    { first: { dealer: ada }, second: { dealer: bob } },
    async ({ first, second }) => {
      await first.query(DEMOTE, [dealerId, bob])
      const { result } = await second.startBlocked(DEMOTE, [dealerId, ada])
      await first.commit()
      expect(await sqlstate(result)).toBe('FC003')
    },
  )
  expect(await rolesOf(database, dealerId)).toEqual({ [ada]: 'owner', [bob]: 'staff' })
})

test('twenty removals at once of both owners by both leave one owner', async () => {
  await makeTwoOwners()
  await Promise.all(
    [ada, bob].map(userId =>
      concurrently(database, { dealer: userId }, 10, (client, index) =>
        client.query(REMOVE, [dealerId, index % 2 ? ada : bob]),
      ),
    ),
  )
  expect(Object.values(await rolesOf(database, dealerId))).toEqual(['owner'])
})

test('twenty acceptances of one invitation at once make one member', async () => {
  await makeTwoOwners()
  const userId = await makeUser(database.owner)
  const email = await single(database.owner, 'select email from app_public.users where id = $1', [userId])
  const hash = await invite(email)
  const outcomes = await concurrently(database, { dealer: userId }, 20, client =>
    client.query(ACCEPT, [hash]),
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  expect(await rolesOf(database, dealerId)).toEqual({ [ada]: 'owner', [bob]: 'owner', [userId]: 'staff' })
  const { rows } = await database.owner.query(
    'select action, resource_type from app_public.audit_logs where actor = $1 order by id',
    [userId],
  )
  expect(rows).toEqual([
    { action: 'UPDATE', resource_type: 'dealer_invitations' },
    { action: 'INSERT', resource_type: 'dealer_users' },
  ])
})

test('an invitation that is revoked while its user accepts is refused', async () => {
  await makeTwoOwners()
  const userId = await makeUser(database.owner)
  const email = await single(database.owner, 'select email from app_public.users where id = $1', [userId])
  const hash = await invite(email)
  const id = await single(
    database.owner,
    'select id from app_public.dealer_invitations where token_hash = $1',
    [hash],
  )
  await interleave(
    database,
    { owner: { dealer: ada }, invited: { dealer: userId } },
    async ({ owner, invited }) => {
      await owner.query('select app_public.revoke_invitation($1)', [id])
      const { result } = await invited.startBlocked(ACCEPT, [hash])
      await owner.commit()
      expect(await sqlstate(result)).toBe('FC008')
    },
  )
})

test('ten invitations of one address at once leave one open', async () => {
  await makeTwoOwners()
  const outcomes = await concurrently(database, { dealer: ada }, 10, client => {
    const hash = randomBytes(32)
    return client.query(INVITE, [dealerId, 'many@example.com', hash, hash])
  })
  expect(countOutcomes(outcomes)).toEqual({ ok: 10 })
  const open =
    'select count(*)::int from app_public.dealer_invitations where dealer_id = $1 and revoked_at is null'
  expect(await single(database.owner, open, [dealerId])).toBe(1)
})
