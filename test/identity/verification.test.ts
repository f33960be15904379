/** Verified addresses: how an address changes, and the free listings that come with the first verification. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { TestServer } from '../support/apiServer.ts'
import type { TestDatabase } from '../support/database.ts'
import { countResponses, createDealer, login } from '../support/graphqlOperations.ts'
import { mailedToken, mailsTo } from '../support/mails.ts'
import { OTHER, outcome, PASSWORD, type Recovery, startRecovery } from '../support/recovery.ts'
import { single } from '../support/testData.ts'

let recovery: Recovery
let database: TestDatabase
let server: TestServer

beforeAll(async () => {
  recovery = await startRecovery()
  ;({ database, server } = recovery)
})

afterAll(() => recovery.stop())

const mutate: Recovery['mutate'] = (...input) => recovery.mutate(...input)
const newAccount: Recovery['newAccount'] = locale => recovery.newAccount(locale)
const resetTokenFor: Recovery['resetTokenFor'] = (...input) => recovery.resetTokenFor(...input)
test('an address changes when the token of the new one is used; the old one gets a notice', async () => {
  const { email, id, token } = await newAccount()
  await mutate('verifyEmail', { token: await mailedToken(database, 'email_verification', email) })
  const reset = await resetTokenFor(email)
  const newEmail = `${randomUUID()}@example.com`
  expect(await outcome(mutate('changeEmail', { password: PASSWORD, newEmail }, token))).toBe('200')
  expect([await mailsTo(database, newEmail), (await mailsTo(database, email)).at(-1)]).toEqual([
    ['email_change'],
    'email_change_notice',
  ])
  expect(await outcome(login(server, newEmail, PASSWORD))).toBe('401 invalid_credentials')
  const { data } = await mutate('verifyEmail', {
    token: await mailedToken(database, 'email_change', newEmail),
  })
  expect(data.verifyEmail?.user).toEqual({
    id,
    email: newEmail,
    emailVerifiedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
  })
  expect(await outcome(login(server, newEmail, PASSWORD))).toBe('200')
  // the mailbox of the old address opens nothing any more
  expect(await outcome(mutate('resetPassword', { token: reset, newPassword: OTHER }))).toBe(
    '422 invalid_input',
  )
})

test('a token may be pasted with the blanks and line breaks around it', async () => {
  const { email } = await newAccount()
  const pasted = (token: string) => `\r\n \u00a0${token}\t\n`
  const token = pasted(await mailedToken(database, 'email_verification', email))
  expect(await outcome(mutate('verifyEmail', { token }))).toBe('200')
  const reset = { token: pasted(await resetTokenFor(email)), newPassword: OTHER }
  expect(await outcome(mutate('resetPassword', reset))).toBe('200')
})

test('a new password ends a change of the address that was asked for with the old one', async () => {
  const account = await newAccount()
  const newEmail = `${randomUUID()}@example.com`
  await mutate('changeEmail', { password: PASSWORD, newEmail }, account.token)
  const token = await mailedToken(database, 'email_change', newEmail)
  await mutate('resetPassword', { token: await resetTokenFor(account.email), newPassword: OTHER })
  expect(await outcome(mutate('verifyEmail', { token }))).toBe('422 invalid_input')
  expect(await outcome(login(server, account.email, OTHER))).toBe('200')
})

test('an address that nobody has verified gets no notice', async () => {
  const account = await newAccount()
  const before = await mailsTo(database, account.email)
  const newEmail = `${randomUUID()}@example.com`
  expect(await outcome(mutate('changeEmail', { password: PASSWORD, newEmail }, account.token))).toBe('200')
  const change = { currentPassword: PASSWORD, newPassword: OTHER }
  expect(await outcome(mutate('changePassword', change, account.token))).toBe('200')
  expect(await mailsTo(database, account.email)).toEqual(before)
})

test('a change to a taken address has the same answer, and its owner gets a mail without a token', async () => {
  const [mine, taken] = [await newAccount(), await newAccount()]
  const free = await mutate(
    'changeEmail',
    { password: PASSWORD, newEmail: `${randomUUID()}@b.example` },
    mine.token,
  )
  const response = await mutate('changeEmail', { password: PASSWORD, newEmail: taken.email }, mine.token)
  expect([response.status, response.data]).toEqual([free.status, free.data])
  expect((await mailsTo(database, taken.email)).at(-1)).toBe('email_taken')
  await expect(mailedToken(database, 'email_taken', taken.email)).rejects.toThrow()
})

test('of two accounts that change to one address, the first to use its token gets it', async () => {
  const newEmail = `${randomUUID()}@example.com`
  const tokens: string[] = []
  for (const { token } of [await newAccount(), await newAccount()]) {
    await mutate('changeEmail', { password: PASSWORD, newEmail }, token)
    tokens.push(await mailedToken(database, 'email_change', newEmail))
  }
  const responses = await Promise.all(tokens.map(token => mutate('verifyEmail', { token })))
  expect(countResponses(responses)).toEqual({ 200: 1, '409 conflict': 1 })
})

test('the first dealer gets its free listings when the address is verified, and no other dealer does', async () => {
  const quota = async (accessToken: string) => {
    const { data } = await createDealer(server, accessToken)
    const id = data.createDealer?.dealer.id
    return () =>
      single(database.owner, 'select has_free_quota::text from app_public.dealers where id = $1', [id])
  }
  const account = await newAccount()
  const [first, second] = [await quota(account.token), await quota(account.token)]
  expect([await first(), await second()]).toEqual(['false', 'false'])
  await mutate('verifyEmail', { token: await mailedToken(database, 'email_verification', account.email) })
  expect([await first(), await second()]).toEqual(['true', 'false'])
  const verified = await newAccount()
  await mutate('verifyEmail', { token: await mailedToken(database, 'email_verification', verified.email) })
  const [third, fourth] = [await quota(verified.token), await quota(verified.token)]
  expect([await third(), await fourth()]).toEqual(['true', 'false'])
})

test('a free quota that was taken away stays away when a second address is verified', async () => {
  const account = await newAccount()
  await mutate('verifyEmail', { token: await mailedToken(database, 'email_verification', account.email) })
  const { data } = await createDealer(server, account.token)
  const id = data.createDealer?.dealer.id
  await database.owner.query('update app_public.dealers set has_free_quota = false where id = $1', [id])
  const newEmail = `${randomUUID()}@example.com`
  await mutate('changeEmail', { password: PASSWORD, newEmail }, account.token)
  await mutate('verifyEmail', { token: await mailedToken(database, 'email_change', newEmail) })
  const read = 'select has_free_quota::text from app_public.dealers where id = $1'
  expect(await single(database.owner, read, [id])).toBe('false')
})
