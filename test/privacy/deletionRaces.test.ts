/** The deletion of an account meets other acts: it happens once, no session outlives it, and no open dealer is without an owner. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { rolesOf } from '../support/members.ts'
import { makeAdminUser, makeCountry, makeDealer, makeUser, single } from '../support/testData.ts'
import { committed, concurrently, countOutcomes, interleave, sqlstate } from '../support/transactions.ts'

const PASSWORD = '$argon2id$none'
const DELETE = `select app_public.delete_my_account('${PASSWORD}') as deleted`
const REMOVE = 'select app_public.remove_member($1, $2)'
const ACCEPT = 'select id from app_public.accept_invitation($1)'
const CREATE = "select id from app_public.create_dealer('New Cars', 'DE', 'auto_dealer')"
const LOGIN = `select session_id from app_public.log_in($1, '192.0.2.1', '\\x00', 5, '${PASSWORD}', $2)`

let database: TestDatabase
let ada: string
let bob: string
let dealerId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
})

afterAll(() => database.drop())

const ask = (sql: string, ...values: unknown[]) => single(database.owner, sql, values)
const isOpen = (id: string) => ask('select is_active from app_public.dealers where id = $1', id)
const isDeleted = (id: string) => ask('select deleted_at is not null from app_public.users where id = $1', id)
const addOwner = (id: string, userId: string) =>
  database.owner.query("insert into app_public.dealer_users values ($1, $2, 'owner')", [id, userId])

/** A dealer with two owners. */
async function makeTwoOwners(): Promise<void> {
  ada = await makeUser(database.owner)
  bob = await makeUser(database.owner)
  dealerId = await makeDealer(database.owner, ada)
  await addOwner(dealerId, bob)
}

/** Ada invites the user to her dealer. Returns the hash of the token. */
async function invite(userId: string): Promise<Buffer> {
  const hash = randomBytes(32)
  const email = await ask('select email from app_public.users where id = $1', userId)
  await committed(database, { dealer: ada }, client =>
    client.query("select app_public.invite_member($1, $2, 'owner', $3, $3)", [dealerId, email, hash]),
  )
  return hash
}

test('ten deletions of one account at once delete it once', async () => {
  const userId = await makeUser(database.owner)
  await makeDealer(database.owner, userId)
  const outcomes = await concurrently(database, { dealer: userId }, 10, client => client.query(DELETE))
  expect(countOutcomes(outcomes)).toEqual({ ok: 1, FC001: 9 })
  const entries =
    "select count(*)::int from app_public.audit_logs where actor = $1 and action = 'DELETE_ACCOUNT'"
  expect(await ask(entries, userId)).toBe(1)
})

test('of two owners who delete their accounts at once, the second one closes the dealer', async () => {
  await makeTwoOwners()
  const owners = { first: { dealer: ada }, second: { dealer: bob } }
  await interleave(database, owners, async ({ first, second }) => {
    await first.query(DELETE)
    const { result } = await second.startBlocked(DELETE)
    await first.commit()
    expect((await result).rows).toEqual([{ deleted: true }])
    await second.commit()
  })
  expect([await rolesOf(database, dealerId), await isOpen(dealerId)]).toEqual([{}, false])
})

test('the owners of the same ten dealers delete their accounts at once without a deadlock', async () => {
  await makeTwoOwners()
  const ids = [dealerId]
  for (let index = 1; index < 10; index += 1) {
    const id = await makeDealer(database.owner, index % 2 ? bob : ada)
    await addOwner(id, index % 2 ? ada : bob)
    ids.push(id)
  }
  const remove = (userId: string) =>
    concurrently(database, { dealer: userId }, 1, client => client.query(DELETE))
  expect(countOutcomes((await Promise.all([remove(ada), remove(bob)])).flat())).toEqual({ ok: 2 })
  expect(await Promise.all(ids.map(isOpen))).toEqual(ids.map(() => false))
})

test('an owner leaves while the other one deletes the account: a dealer without an owner is closed', async () => {
  for (const first of ['leave', 'delete'] as const) {
    await makeTwoOwners()
    const owners = { leaver: { dealer: ada }, deleter: { dealer: bob } }
    await interleave(database, owners, async ({ leaver, deleter }) => {
      if (first === 'leave') {
        await leaver.query(REMOVE, [dealerId, ada])
        const { result } = await deleter.startBlocked(DELETE)
        await leaver.commit()
        await result
        await deleter.commit()
      } else {
        await deleter.query(DELETE)
        const { result } = await leaver.startBlocked(REMOVE, [dealerId, ada])
        await deleter.commit()
        expect(await sqlstate(result)).toBe('FC008')
      }
    })
    const owners_ = Object.keys(await rolesOf(database, dealerId)).length
    expect([first, owners_, await isOpen(dealerId)]).toEqual([
      first,
      first === 'leave' ? 0 : 1,
      first !== 'leave',
    ])
  }
})

test('an invitation that is accepted while its user deletes the account leaves no membership', async () => {
  for (const first of ['accept', 'delete'] as const) {
    await makeTwoOwners()
    const userId = await makeUser(database.owner)
    const hash = await invite(userId)
    const acts = { accept: { dealer: userId }, remove: { dealer: userId } }
    await interleave(database, acts, async ({ accept, remove }) => {
      if (first === 'accept') {
        await accept.query(ACCEPT, [hash])
        const { result } = await remove.startBlocked(DELETE)
        await accept.commit()
        await result
        await remove.commit()
      } else {
        await remove.query(DELETE)
        const { result } = await accept.startBlocked(ACCEPT, [hash])
        await remove.commit()
        expect(await sqlstate(result)).toBe('FC001')
      }
    })
    expect([first, Object.keys(await rolesOf(database, dealerId)).length]).toEqual([first, 2])
  }
})

test('a dealer that the account gets while its deletion waits makes the deletion fail, to be retried', async () => {
  await makeTwoOwners()
  const userId = await makeUser(database.owner)
  const held = await makeDealer(database.owner, userId)
  const acts = { holder: 'owner', remove: { dealer: userId }, other: { dealer: userId } } as const
  await interleave(database, acts, async ({ holder, remove, other }) => {
    await holder.query('select from app_public.dealers where id = $1 for update', [held])
    const { result } = await remove.startBlocked(DELETE)
    const hash = await invite(userId)
    await other.query(ACCEPT, [hash])
    await other.commit()
    await holder.commit()
    expect(await sqlstate(result)).toBe('40001')
  })
  await committed(database, { dealer: userId }, client => client.query(DELETE))
  expect([await rolesOf(database, held), await isOpen(held)]).toEqual([{}, false])
})

test('a dealer that is created while its user deletes the account has an owner, or is not created', async () => {
  for (const first of ['create', 'delete'] as const) {
    const userId = await makeUser(database.owner)
    const acts = { create: { dealer: userId }, remove: { dealer: userId } }
    await interleave(database, acts, async ({ create, remove }) => {
      const [begins, waits] = first === 'create' ? ([create, remove] as const) : ([remove, create] as const)
      await begins.query(first === 'create' ? CREATE : DELETE)
      const { result } = await waits.startBlocked(first === 'create' ? DELETE : CREATE)
      await begins.commit()
      expect(await sqlstate(result)).toBe(first === 'create' ? '40001' : 'FC001')
    })
    expect([first, await isDeleted(userId)]).toEqual([first, first === 'delete'])
  }
})

test('a login while the account is deleted: no session outlives the deletion', async () => {
  for (const first of ['login', 'delete'] as const) {
    const email = `${first}@example.com`
    const userId = await makeUser(database.owner, email)
    const acts = { client: 'authenticator', remove: { dealer: userId } } as const
    await interleave(database, acts, async ({ client, remove }) => {
      const login = [email, randomBytes(32)]
      if (first === 'login') {
        await client.query(LOGIN, login)
        const { result } = await remove.startBlocked(DELETE)
        await client.commit()
        await result
        await remove.commit()
      } else {
        await remove.query(DELETE)
        const { result } = await client.startBlocked(LOGIN, login)
        await remove.commit()
        expect((await result).rows).toEqual([{ session_id: null }])
        await client.commit()
      }
    })
    const left = `select (select count(*) from app_private.sessions where user_id = $1)
      + (select count(*) from app_private.known_addresses where account_key = app_private.account_key($2))`
    expect([first, await ask(left, userId, email)]).toEqual([first, '0'])
  }
})

test('of two admins who delete their accounts at once, one stays', async () => {
  const [one, two] = [await makeAdminUser(database.owner), await makeAdminUser(database.owner)]
  const admins = { first: { admin: one }, second: { admin: two } }
  await interleave(database, admins, async ({ first, second }) => {
    await first.query(DELETE)
    const { result } = await second.startBlocked(DELETE)
    await first.commit()
    expect(await sqlstate(result)).toBe('FC008')
  })
  expect([await isDeleted(one), await isDeleted(two)]).toEqual([true, false])
})
