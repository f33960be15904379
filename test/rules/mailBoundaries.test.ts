/** Tokens and mails a microsecond before, at and after each bound. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { refusal, type TestDatabase } from '../support/database.ts'
import { atEach, cloneFrozen, NOON } from '../support/frozenClock.ts'
import { makeCountry, makeDealer, makeUser, single } from '../support/testData.ts'

const EMAIL = 'a@example.com'
const HASH = `'\\x${'01'.repeat(32)}'::bytea`

let database: TestDatabase

beforeAll(async () => {
  database = await cloneFrozen()
})

afterAll(() => database.drop())

async function putToken(client: pg.ClientBase, kind: string, lifetime: string): Promise<void> {
  const userId = await makeUser(client, EMAIL)
  await client.query(
    `insert into app_private.one_time_tokens (token_hash, kind, user_id, holder, email, expires_at)
     values (${HASH}, $1, $2, $2, $3, ${NOON} + $4::interval)`,
    [kind, userId, EMAIL, lifetime],
  )
}

test.each([
  ['password_reset', `select app_public.complete_password_reset(${HASH}, '$argon2id$new', '\\x00')`],
  ['password_reset', `select app_public.begin_password_reset(${HASH})`],
  ['email_verification', `select app_public.verify_email(${HASH})`],
])('a token works until its end, and not at it: %s', async (kind, use) => {
  const outcomes = await atEach(database, `${NOON} + interval '1 hour'`, async client => {
    await putToken(client, kind, '1 hour')
    return refusal(client, use).catch(() => 'accepted')
  })
  expect(outcomes).toEqual(['accepted', 'FC010', 'FC010'])
})

test('expired tokens are removed after their end', async () => {
  const left = await atEach(database, `${NOON} + interval '1 hour'`, async client => {
    await putToken(client, 'password_reset', '1 hour')
    await client.query('select app_private.maintain_mails()')
    return single(client, 'select count(*)::int from app_private.one_time_tokens')
  })
  expect(left).toEqual([1, 1, 0])
})

test('a mail is kept as long as its setting says: for 14 days by default', async () => {
  const removed = await atEach(database, `${NOON} + 14 * interval '24 hours'`, async client => {
    await client.query(
      `insert into app_private.mails (kind, locale, recipient, created_at) values ('password_changed', 'en', $1, ${NOON})`,
      [EMAIL],
    )
    return single(client, 'select app_private.maintain_mails()')
  })
  expect(removed).toEqual([0, 0, 1])
})

test('an invitation is kept as long as its setting says after its end: for 90 days by default', async () => {
  const lefts = []
  for (const days of [90, 1]) {
    lefts.push(
      await atEach(database, `${NOON} + ${days} * interval '24 hours'`, async client => {
        await client.query('update app_private.operation_settings set invitation_retention_days = $1', [days])
        const userId = await makeUser(client, EMAIL)
        await makeCountry(client)
        await client.query(
          `insert into app_public.dealer_invitations (dealer_id, email, role, token_hash, created_by, expires_at)
           values ($1, $2, 'staff', ${HASH}, $3, ${NOON})`,
          [await makeDealer(client, userId), EMAIL, userId],
        )
        await client.query('select app_private.maintain_mails()')
        return single(client, 'select count(*)::int from app_public.dealer_invitations')
      }),
    )
  }
  expect(lefts).toEqual([
    [1, 1, 0],
    [1, 1, 0],
  ])
})
