/** The life of an invitation: the mail, its token, and the users who can accept it. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { register } from '../support/graphqlOperations.ts'
import { mailedToken } from '../support/mails.ts'
import { makeMember, makePerson, mutate, type Person, rolesOf } from '../support/members.ts'
import { makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { single } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let country: string
let seller: Seller
let invited: Person

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  country = (await makeSeller(database, server)).country
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

beforeEach(async () => {
  seller = await makeSellerIn(database, server, country)
  invited = await makePerson(database, server)
})

/** Invites the address and returns the token in the mail. */
async function invite(email = invited.email, role = 'STAFF'): Promise<string> {
  const { result } = await mutate(
    server,
    'inviteMember',
    { dealerId: seller.dealerId, email, role },
    seller.token,
  )
  expect(result).toMatchObject({ email, role })
  return mailedToken(database, 'invitation', email)
}

const accept = (token: string, person = invited) =>
  mutate(server, 'acceptInvitation', { token }, person.token)

/** The outcome, with the facts of the refusal. */
const refusalOf = async (token: string, person = invited) => {
  const { outcome, errors } = await accept(token, person)
  return [outcome, errors[0]?.extensions.detail]
}

test('an invited user becomes a member with the role of the invitation', async () => {
  for (const role of ['OWNER', 'STAFF']) {
    const person = await makePerson(database, server)
    // as it is pasted from the mail
    const { result } = await accept(`  ${await invite(person.email, role)}\n`, person)
    expect(result).toEqual({ id: seller.dealerId, myRole: role })
    expect(await rolesOf(database, seller.dealerId)).toMatchObject({ [person.userId]: role.toLowerCase() })
  }
})

test('a person without an account is invited too, and accepts after the registration', async () => {
  const email = `${randomUUID()}@example.com`
  const token = await invite(email)
  const { data } = await register(server, { email, password: 'correct horse battery' })
  const { accessToken = '', user } = data.register?.session ?? {}
  expect((await accept(token, { ...invited, token: accessToken })).outcome).toBe('200')
  expect(await rolesOf(database, seller.dealerId)).toMatchObject({ [user?.id ?? '']: 'staff' })
})

test('the mail is in the language of the inviter, names both parties, and has the token sealed only', async () => {
  await database.owner.query("update app_public.users set locale = 'de', full_name = 'Ada' where id = $1", [
    seller.userId,
  ])
  const token = await invite()
  const { rows } = await database.owner.query(
    `select m.kind, m.locale, m.parameters, m.expires_at = i.created_at + interval '168 hours' as is_week
     from app_private.mails as m join app_public.dealer_invitations as i on i.email = m.recipient where m.recipient = $1`,
    [invited.email],
  )
  expect(rows).toMatchObject([
    { kind: 'invitation', locale: 'de', parameters: { dealer: 'Test', inviter: 'Ada' }, is_week: true },
  ])
  for (const table of ['app_public.dealer_invitations', 'app_private.mails', 'app_public.audit_logs']) {
    const found = `select count(*)::int from ${table} as t where t::text like '%' || $1 || '%'`
    expect([table, await single(database.superuser, found, [token])]).toEqual([table, 0])
  }
})

test('accepting an invitation verifies the address, and keeps an earlier time', async () => {
  const verifiedAt = (userId: string) =>
    single(database.owner, 'select email_verified_at from app_public.users where id = $1', [userId])
  await database.owner.query('update app_public.users set email_verified_at = null where id = $1', [
    invited.userId,
  ])
  await accept(await invite())
  expect(await verifiedAt(invited.userId)).not.toBeNull()
  const other = await makePerson(database, server)
  await database.owner.query("update app_public.users set email_verified_at = '2026-01-01Z' where id = $1", [
    other.userId,
  ])
  await accept(await invite(other.email), other)
  expect(await verifiedAt(other.userId)).toEqual(new Date('2026-01-01Z'))
})

test('a user with another address cannot accept, and does not learn the address', async () => {
  const token = await invite()
  const stranger = await makePerson(database, server)
  const { outcome, errors, text } = await accept(token, stranger)
  expect([outcome, errors[0]?.extensions.detail]).toEqual(['403 forbidden', { field: 'token' }])
  expect(text).not.toContain(invited.email.slice(0, 8))
  expect(await rolesOf(database, seller.dealerId)).toEqual({ [seller.userId]: 'owner' })
  expect((await mutate(server, 'acceptInvitation', { token })).outcome).toBe('401 unauthenticated')
})

test('an unknown token is not found', async () => {
  expect(await refusalOf(randomUUID())).toEqual(['404 not_found', { field: 'token' }])
})

test('an invitation ends after 7 days', async () => {
  const token = await invite()
  await database.owner.query('update app_public.dealer_invitations set expires_at = clock_timestamp()')
  expect(await refusalOf(token)).toEqual(['409 conflict', { field: 'token', status: 'EXPIRED' }])
})

test('a revoked invitation cannot be accepted, and an accepted one cannot be revoked', async () => {
  const revoke = async (id: unknown) => mutate(server, 'revokeInvitation', { invitationId: id }, seller.token)
  const idOf = () =>
    single(
      database.owner,
      'select id from app_public.dealer_invitations where dealer_id = $1 and revoked_at is null',
      [seller.dealerId],
    )
  const token = await invite()
  const id = await idOf()
  const times = [await revoke(id), await revoke(id)]
  expect(times.map(({ result }) => result)).toMatchObject([{ id, email: invited.email }, { id }])
  expect(await refusalOf(token)).toEqual(['409 conflict', { field: 'token', status: 'REVOKED' }])
  await accept(await invite())
  const { outcome, errors } = await revoke(await idOf())
  expect([outcome, errors[0]?.extensions.detail]).toEqual([
    '409 conflict',
    { field: 'invitationId', status: 'ACCEPTED' },
  ])
  expect((await revoke(randomUUID())).outcome).toBe('404 not_found')
})

test('a second invitation of an address ends the first one', async () => {
  const [first, second] = [await invite(), await invite(` ${invited.email}`.trim(), 'OWNER')]
  expect(await refusalOf(first)).toEqual(['409 conflict', { field: 'token', status: 'REVOKED' }])
  expect((await accept(second)).result?.myRole).toBe('OWNER')
})

test('an invitation is used once: a member may repeat it, and a former member may not', async () => {
  const token = await invite()
  expect((await accept(token)).outcome).toBe('200')
  expect((await accept(token)).result).toEqual({ id: seller.dealerId, myRole: 'STAFF' })
  const member = { dealerId: seller.dealerId, userId: invited.userId }
  expect((await mutate(server, 'removeMember', member, seller.token)).outcome).toBe('200')
  expect(await refusalOf(token)).toEqual(['409 conflict', { field: 'token', status: 'ACCEPTED' }])
})

test('a member keeps its role when it accepts an invitation', async () => {
  const token = await invite(invited.email, 'STAFF')
  await database.owner.query("insert into app_public.dealer_users values ($1, $2, 'owner')", [
    seller.dealerId,
    invited.userId,
  ])
  expect((await accept(token)).result?.myRole).toBe('OWNER')
})

test('the address of a member, in any spelling, is a conflict', async () => {
  const member = await makeMember(database, server, seller.dealerId, 'staff')
  const input = { dealerId: seller.dealerId, email: ` ${member.email.toUpperCase()} `, role: 'STAFF' }
  const { outcome, errors } = await mutate(server, 'inviteMember', input, seller.token)
  expect([outcome, errors[0]?.extensions.detail]).toEqual(['409 conflict', { field: 'email' }])
})

test('text that is no address is refused with its field', async () => {
  const input = { dealerId: seller.dealerId, email: 'jane', role: 'STAFF' }
  const { outcome, errors } = await mutate(server, 'inviteMember', input, seller.token)
  expect([outcome, errors[0]?.extensions.detail]).toEqual(['422 invalid_input', { field: 'email' }])
})

test('the invitation of a dealer that was closed meanwhile cannot be accepted', async () => {
  const token = await invite()
  await database.owner.query('update app_public.dealers set is_active = false where id = $1', [
    seller.dealerId,
  ])
  expect((await accept(token)).outcome).toBe('403 forbidden')
})

test('an invitation is worth nothing while its sender is no owner or is locked', async () => {
  const token = await invite(invited.email, 'OWNER')
  const owner = await makePerson(database, server)
  await database.owner.query("insert into app_public.dealer_users values ($1, $2, 'owner')", [
    seller.dealerId,
    owner.userId,
  ])
  const refused = ['409 conflict', { field: 'token', status: 'REVOKED' }]
  const input = { dealerId: seller.dealerId, userId: seller.userId }
  await mutate(server, 'setMemberRole', { ...input, role: 'STAFF' }, owner.token)
  expect(await refusalOf(token)).toEqual(refused)
  await mutate(server, 'setMemberRole', { ...input, role: 'OWNER' }, owner.token)
  await database.owner.query("select app_private.lock_user($1, 'A test.')", [seller.userId])
  expect(await refusalOf(token)).toEqual(refused)
  await database.owner.query("select app_private.unlock_user($1, 'A test.')", [seller.userId])
  await mutate(server, 'removeMember', input, owner.token)
  expect(await refusalOf(token)).toEqual(refused)
})

test('an owner whose address is not verified cannot invite', async () => {
  await database.owner.query('update app_public.users set email_verified_at = null where id = $1', [
    seller.userId,
  ])
  const input = { dealerId: seller.dealerId, email: invited.email, role: 'STAFF' }
  expect((await mutate(server, 'inviteMember', input, seller.token)).outcome).toBe('403 forbidden')
})

test('a deleted user cannot accept', async () => {
  const token = await invite()
  await database.owner.query('update app_public.users set deleted_at = now() where id = $1', [invited.userId])
  expect((await accept(token)).outcome).toBe('401 unauthenticated')
})

test('each step of an invitation is in the audit trail, without the address and the hash', async () => {
  const token = await invite()
  await accept(token)
  const { rows } = await database.owner.query(
    `select action, resource_type, actor, coalesce(new_values, old_values) as values from app_public.audit_logs
     where resource_type in ('dealer_invitations', 'dealer_users') and coalesce(new_values, old_values) ->> 'dealer_id' = $1
       and actor is not null order by id`,
    [seller.dealerId],
  )
  expect(rows).toMatchObject([
    { action: 'INSERT', resource_type: 'dealer_invitations', actor: seller.userId },
    { action: 'UPDATE', resource_type: 'dealer_invitations', actor: invited.userId },
    { action: 'INSERT', resource_type: 'dealer_users', actor: invited.userId },
  ])
  for (const { values } of rows) expect(Object.keys(values)).not.toEqual(expect.arrayContaining(['email']))
  for (const { values } of rows)
    expect(Object.keys(values)).not.toEqual(expect.arrayContaining(['token_hash']))
})
