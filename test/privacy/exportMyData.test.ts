/** `exportMyData` over HTTP: everything about the caller, no secret, and nothing about another person. */

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { makeApiKey } from '../support/apiKeys.ts'
import { createListing } from '../support/apiServer.ts'
import { login, register } from '../support/graphqlOperations.ts'
import { mailedToken } from '../support/mails.ts'
import { mutate as mutateMember } from '../support/members.ts'
import { createDealer, outcome, PASSWORD, type Recovery, startRecovery } from '../support/recovery.ts'

/** ISO 8601 in UTC. */
const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00$/)
const anyId = expect.any(String)

let world: Recovery

beforeAll(async () => {
  world = await startRecovery()
})

afterAll(() => world.stop())

async function newPerson(name: string) {
  const email = `${name.toLowerCase()}.${randomUUID()}@example.com`
  const { data } = await register(world.server, { email, password: PASSWORD, fullName: `${name} Example` })
  const { accessToken: token = '', user } = data.register?.session ?? {}
  // only a verified address can invite
  await world.database.owner.query('update app_public.users set email_verified_at = now() where id = $1', [
    user?.id,
  ])
  const dealerId = await createDealer(world.server, token, `${name} Cars`)
  return { email, id: user?.id ?? '', token, dealerId }
}

type Rows = Record<string, Record<string, unknown>[]>
const exported = async (token: string) =>
  (await world.mutate('exportMyData', {}, token)).data.exportMyData?.data as Rows

const invitation = {
  id: anyId,
  role: 'STAFF',
  createdAt: time,
  expiresAt: time,
  acceptedAt: time,
  revokedAt: null,
}

/** Ada and Bob own a dealer each, invite each other, publish for their own dealer, and log in again. */
async function makeHistory() {
  const { server, database } = world
  const [ada, bob] = [await newPerson('Ada'), await newPerson('Bob')]
  for (const [host, guest] of [
    [ada, bob],
    [bob, ada],
  ] as const) {
    await createListing(server, host.token, host.dealerId, { title: `A car of ${host.email}` })
    const input = { dealerId: host.dealerId, email: guest.email, role: 'STAFF' }
    await mutateMember(server, 'inviteMember', input, host.token)
    await mutateMember(
      server,
      'acceptInvitation',
      { token: await mailedToken(database, 'invitation', guest.email) },
      guest.token,
    )
    await login(server, guest.email, PASSWORD)
    await login(server, guest.email, 'a wrong password')
  }
  return { ada, bob }
}

test('an export has everything about the caller under plain names', async () => {
  const { ada, bob } = await makeHistory()
  await makeApiKey(world.server, ada.token, ada.dealerId)
  const reason = { id: ada.id, reason: 'A complaint of her bank.' }
  await world.database.owner.query('select app_private.lock_user($1, $2)', [reason.id, reason.reason])
  await world.database.owner.query('select app_private.unlock_user($1, $2)', [reason.id, reason.reason])
  const { data } = await login(world.server, ada.email, PASSWORD)
  const result = await exported(data.login?.session.accessToken ?? '')
  expect(result).toEqual({
    account: {
      id: ada.id,
      email: ada.email,
      fullName: 'Ada Example',
      locale: 'en',
      isAdmin: false,
      dealerLimit: 5,
      createdAt: time,
      emailVerifiedAt: time,
      passwordSetAt: time,
    },
    memberships: [
      { dealerId: ada.dealerId, companyName: 'Ada Cars', role: 'OWNER', createdAt: time },
      { dealerId: bob.dealerId, companyName: 'Bob Cars', role: 'STAFF', createdAt: time },
    ],
    membershipChanges: [
      { dealerId: ada.dealerId, action: 'INSERT', role: 'OWNER', createdAt: time },
      { dealerId: bob.dealerId, action: 'INSERT', role: 'STAFF', createdAt: time },
    ],
    dealersCreated: [{ dealerId: ada.dealerId, companyName: 'Ada Cars', createdAt: time }],
    invitationsSent: [{ ...invitation, dealerId: ada.dealerId }],
    invitationsReceived: [{ ...invitation, dealerId: bob.dealerId }],
    apiKeysMade: [
      { dealerId: ada.dealerId, name: 'Stock', createdAt: time, revokedAt: null, lastUsedAt: null },
    ],
    sessions: [{ createdAt: time, expiresAt: time }],
    clientAddresses: [{ address: expect.any(String), lastLoginAt: time }],
    failedLogins: expect.arrayContaining([{ failures: 1, since: time }]),
    mails: [
      { kind: 'email_verification', createdAt: time, sentAt: null },
      { kind: 'invitation', createdAt: time, sentAt: null },
    ],
    mailTokens: [{ kind: 'email_verification', email: ada.email, expiresAt: time, usedAt: null }],
    publications: [
      {
        dealerId: ada.dealerId,
        listingId: anyId,
        title: `A car of ${ada.email}`,
        kind: 'PUBLICATION',
        createdAt: time,
      },
    ],
    auditEntries: expect.arrayContaining([
      {
        action: 'INSERT',
        resourceType: 'dealer_users',
        resourceId: null,
        clientAddress: '127.0.0.1',
        createdAt: time,
      },
    ]),
    auditEntriesAboutAccount: [
      {
        action: 'LOCK_USER',
        oldValues: { lockedAt: null },
        newValues: { lockedAt: time, reason: reason.reason },
        createdAt: time,
      },
      {
        action: 'UNLOCK_USER',
        oldValues: { lockedAt: time },
        newValues: { lockedAt: null, reason: reason.reason },
        createdAt: time,
      },
    ],
  })
})

test('an export has nothing about another person, no hash and no token', async () => {
  const { ada, bob } = await makeHistory()
  const text = JSON.stringify(await exported(ada.token))
  for (const secret of [bob.email, bob.id, 'Bob Example', 'argon2id', '\\\\x'])
    expect([secret, text.includes(secret)]).toEqual([secret, false])
  const { rows } = await world.database.owner.query<{ hash: string }>(
    `select encode(token_hash, 'hex') as hash from app_private.one_time_tokens
     union all select encode(token_hash, 'hex') from app_private.refresh_tokens
     union all select encode(token_hash, 'hex') from app_public.dealer_invitations
     union all select encode(sealed_token, 'hex') from app_private.mails where sealed_token is not null`,
  )
  expect(rows.filter(({ hash }) => text.includes(hash))).toEqual([])
})

test('an export has the listings of a dealer that the caller has left', async () => {
  const { ada, bob } = await makeHistory()
  await createListing(world.server, ada.token, bob.dealerId, { title: 'A car for Bob' })
  await mutateMember(world.server, 'removeMember', { dealerId: bob.dealerId, userId: ada.id }, ada.token)
  const { publications, membershipChanges } = await exported(ada.token)
  expect(publications?.map(({ title }) => title)).toContain('A car for Bob')
  expect(membershipChanges?.map(({ action }) => action)).toEqual(['INSERT', 'INSERT', 'DELETE'])
})

test('an export changes nothing, and needs a user', async () => {
  const { ada } = await makeHistory()
  const first = await exported(ada.token)
  expect(await exported(ada.token)).toEqual(first)
  expect(await outcome(world.mutate('exportMyData', {}))).toBe('401 unauthenticated')
})
