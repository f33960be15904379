/** `deleteMyAccount` over HTTP: what is gone, and what stays. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { createListing } from '../support/apiServer.ts'
import { buyPackage, login, payInvoice, register } from '../support/graphqlOperations.ts'
import { brokenRules } from '../support/ledger.ts'
import { mailedToken, mailsTo } from '../support/mails.ts'
import { makeMember, mutate as mutateMember } from '../support/members.ts'
import {
  createDealer,
  newOwner,
  outcome,
  PASSWORD,
  type Recovery,
  startRecovery,
} from '../support/recovery.ts'
import { tablesWith } from '../support/remains.ts'
import { makeAdmin } from '../support/seller.ts'
import { makePackage, single } from '../support/testData.ts'
import { until } from '../support/waits.ts'

let world: Recovery

beforeAll(async () => {
  world = await startRecovery()
})

afterAll(() => world.stop())

const query = (sql: string, ...values: unknown[]) => world.database.owner.query(sql, values)
const ask = (sql: string, ...values: unknown[]) => single(world.database.owner, sql, values)
const remove = ({ token }: { token: string }) =>
  world.mutate('deleteMyAccount', { password: PASSWORD }, token)
const isOpen = (dealerId: string) => ask('select is_active from app_public.dealers where id = $1', dealerId)

test('no copy of the name and the address remains in the database', async () => {
  const { server, database } = world
  const id = randomUUID()
  const email = `ada.${id}@example.com`
  const fullName = `Ada ${id}`
  const { data } = await register(server, { email: `former.${email}`, password: PASSWORD, fullName })
  const account = {
    email,
    id: data.register?.session.user.id ?? '',
    token: data.register?.session.accessToken ?? '',
  }
  await world.mutate('changeEmail', { password: PASSWORD, newEmail: email }, account.token)
  await world.mutate('verifyEmail', { token: await mailedToken(database, 'email_change', email) })
  const dealerId = await createDealer(server, account.token)
  const other = await newOwner(world)
  await createListing(server, account.token, dealerId)
  await mutateMember(
    server,
    'inviteMember',
    { dealerId, email: 'guest@example.com', role: 'STAFF' },
    account.token,
  )
  const invitation = { dealerId: other.dealerId, email, role: 'STAFF' }
  await mutateMember(server, 'inviteMember', invitation, other.account.token)
  const accepted = { token: await mailedToken(database, 'invitation', email) }
  await mutateMember(server, 'acceptInvitation', accepted, account.token)
  await world.mutate('changeEmail', { password: PASSWORD, newEmail: email }, other.account.token)
  await world.resetTokenFor(email)
  await login(server, email, 'a wrong password')
  await login(server, email, PASSWORD)
  // the answer of a mail server is in the row of a job
  await query(
    `update graphile_worker._private_jobs set last_error = $1
     where key in (select 'send_mail:' || m.id from app_private.mails as m where m.recipient = $2)`,
    `550 ${email} is unknown`,
    email,
  )
  const removed = [email, fullName, id]
  expect(await Promise.all(removed.map(text => tablesWith(database, text)))).not.toContainEqual([])
  await remove(account)
  // a mail to a former address stays for its own time
  await query('delete from app_private.mails where recipient = $1', `former.${email}`)
  expect(await Promise.all(removed.map(text => tablesWith(database, text)))).toEqual([[], [], []])
  expect(await tablesWith(database, account.id)).toContain('app_public.users')
  const keys = `select count(*) from app_private.login_failures as f, app_private.known_addresses as k
    where app_private.account_key($1) in (f.email_hash, k.account_key)`
  expect(await ask(keys, email)).toBe('0')
})

test('the mails that nobody has sent yet are not sent any more, and those of others are', async () => {
  const { account, dealerId } = await newOwner(world)
  const other = await newOwner(world)
  const guest = `${randomUUID()}@example.com`
  for (const [id, { token }] of [
    [dealerId, account],
    [other.dealerId, other.account],
  ] as const) {
    await mutateMember(world.server, 'inviteMember', { dealerId: id, email: guest, role: 'STAFF' }, token)
  }
  const mailId = await ask('select id from app_private.mails where recipient = $1', account.email)
  const job = "select count(*)::int from graphile_worker.jobs where key = 'send_mail:' || $1::text"
  expect([await ask(job, mailId), await mailsTo(world.database, guest)]).toEqual([
    1,
    ['invitation', 'invitation'],
  ])
  await remove(account)
  expect([await ask(job, mailId), await mailsTo(world.database, guest)]).toEqual([0, ['invitation']])
  const accept = { token: await mailedToken(world.database, 'invitation', guest) }
  const { data } = await register(world.server, { email: guest, password: PASSWORD })
  const { outcome: accepted } = await mutateMember(
    world.server,
    'acceptInvitation',
    accept,
    data.register?.session.accessToken,
  )
  expect(accepted).toBe('200')
})

test('the tokens are refused within a second, and a login fails as one of an unknown address', async () => {
  const account = await world.newAccount()
  const { data } = await login(world.server, account.email, PASSWORD)
  const session = data.login?.session
  expect((await remove(account)).data.deleteMyAccount).toEqual({ ok: true })
  const deletedAt = Date.now()
  const ask = (token = '') => world.server.call('{ currentUser { id } }', { token })
  for (const token of [account.token, session?.accessToken]) {
    await until('the token is refused', async () => (await ask(token)).status === 401)
  }
  expect(Date.now() - deletedAt).toBeLessThan(1000)
  const bodies = []
  for (const email of [account.email, `${randomUUID()}@example.com`]) {
    const { status, text } = await login(world.server, email, PASSWORD)
    bodies.push([status, text])
  }
  expect(bodies[0]).toEqual(bodies[1])
  expect(bodies[0]?.[0]).toBe(401)
  const refresh =
    'mutation ($input: RefreshSessionInput!) { refreshSession(input: $input) { session { expiresAt } } }'
  const variables = { input: { refreshToken: session?.refreshToken } }
  expect(await outcome(world.server.call(refresh, { variables }))).toBe('401 unauthenticated')
})

test('the address can register again, as a new account without the rights of the deleted one', async () => {
  const { account, dealerId } = await newOwner(world)
  await remove(account)
  const { data } = await register(world.server, { email: account.email, password: PASSWORD })
  const again = data.register?.session
  expect(again?.user.id).not.toBe(account.id)
  const dealers = await world.server.call<{ dealer: unknown }>(
    'query ($id: UUID!) { dealer(id: $id) { myRole } }',
    {
      token: again?.accessToken ?? '',
      variables: { id: dealerId },
    },
  )
  expect(dealers.data?.dealer ?? null).toBeNull()
})

test('colleagues no longer see the person, and admins see a deleted user', async () => {
  const { account, dealerId } = await newOwner(world)
  const colleague = await makeMember(world.database, world.server, dealerId, 'owner')
  await remove(account)
  const members = '{ dealers { nodes { isActive members { nodes { user { id fullName } } } } } }'
  const { data } = await world.server.call(members, { token: colleague.token })
  expect(data).toEqual({
    dealers: {
      nodes: [
        { isActive: true, members: { nodes: [{ user: { id: colleague.userId, fullName: 'Test User' } }] } },
      ],
    },
  })
  type Users = {
    users: {
      nodes: { id: string; fullName: string; email: string; emailVerifiedAt: null; isAdmin: boolean }[]
    }
  }
  const users =
    '{ users(first: 100, orderBy: [ID_DESC]) { nodes { id fullName email emailVerifiedAt isAdmin } } }'
  const token = await makeAdmin(world.database, world.server)
  const seen = (await world.server.call<Users>(users, { token })).data.users.nodes.find(
    ({ id }) => id === account.id,
  )
  expect(seen).toMatchObject({ fullName: 'Deleted user', emailVerifiedAt: null, isAdmin: false })
  expect(seen?.email).toMatch(/^deleted-[0-9a-f-]{36}@deleted\.invalid$/)
})

test('the books stay as they are, and a dealer without an owner is closed', async () => {
  const { server, database } = world
  const { account, dealerId } = await newOwner(world)
  const packageId = await makePackage(database.owner)
  const { data } = await buyPackage(server, account.token, { dealerId, packageId })
  await payInvoice(server, await makeAdmin(database, server), data.buyPackage?.checkout.invoice.id ?? '')
  await createListing(server, account.token, dealerId)
  await query(
    "update app_public.dealer_subscriptions set status = 'cancelled' where dealer_id = $1",
    dealerId,
  )
  const books = async () => [
    (await query('select * from app_public.invoices where dealer_id = $1', dealerId)).rows,
    (await query('select * from app_public.invoice_items where dealer_id = $1', dealerId)).rows,
    (await query('select * from app_public.listing_consumptions where dealer_id = $1', dealerId)).rows,
    (await query('select * from app_public.dealer_subscriptions where dealer_id = $1', dealerId)).rows,
  ]
  const before = await books()
  expect(before.map(({ length }) => length)).toEqual([1, 1, 1, 1])
  await remove(account)
  expect(await books()).toEqual(before)
  expect(await brokenRules(database.owner)).toEqual([])
  expect(await isOpen(dealerId)).toBe(false)
  const entries = await query(
    'select action, resource_type, new_values from app_public.audit_logs where actor = $1 order by id desc limit 3',
    account.id,
  )
  expect(entries.rows).toMatchObject([
    { action: 'DELETE_ACCOUNT', resource_type: 'users', new_values: { ownerlessDealerIds: [dealerId] } },
    { action: 'UPDATE', resource_type: 'dealers', new_values: { is_active: false } },
    { action: 'DELETE', resource_type: 'dealer_users', new_values: null },
  ])
})
