/** Passwords and tokens in mails: reset, change, and what a token can and cannot do. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { hashToken } from '../../src/identity/secretTokens.ts'
import type { TestServer } from '../support/apiServer.ts'
import type { TestDatabase } from '../support/database.ts'
import { countResponses, login, register } from '../support/graphqlOperations.ts'
import { outcomeOf } from '../support/limits.ts'
import { mailedToken, mailsTo } from '../support/mails.ts'
import type { RecordedLog } from '../support/recordedLog.ts'
import {
  type Account,
  fieldOf,
  OTHER,
  outcome,
  PASSWORD,
  type Recovery,
  startRecovery,
} from '../support/recovery.ts'
import { single } from '../support/testData.ts'
import { interleave, sqlstate } from '../support/transactions.ts'

let recovery: Recovery
let database: TestDatabase
let server: TestServer
let log: RecordedLog

beforeAll(async () => {
  recovery = await startRecovery()
  ;({ database, server, log } = recovery)
})

afterAll(() => recovery.stop())

const mutate: Recovery['mutate'] = (...input) => recovery.mutate(...input)
const newAccount: Recovery['newAccount'] = locale => recovery.newAccount(locale)
const resetTokenFor: Recovery['resetTokenFor'] = (...input) => recovery.resetTokenFor(...input)
const isVerified = (id: string) =>
  single(database.owner, 'select (email_verified_at is not null)::text from app_public.users where id = $1', [
    id,
  ])
const expireTokens = () => database.owner.query('update app_private.one_time_tokens set expires_at = now()')

test('a reset sets the password, logs in, verifies the address and tells the user', async () => {
  const { email, id } = await newAccount()
  const token = await resetTokenFor(email, ` ${email.toUpperCase()}`)
  const { data } = await mutate('resetPassword', { token, newPassword: OTHER })
  expect(data.resetPassword?.session?.user).toEqual({ id, email })
  const query = '{ currentUser { id } }'
  const read = await server.call(query, { token: data.resetPassword?.session?.accessToken ?? '' })
  expect(read.data).toEqual({ currentUser: { id } })
  expect(await outcome(login(server, email, PASSWORD))).toBe('401 invalid_credentials')
  expect(await outcome(login(server, email, OTHER))).toBe('200')
  expect(await isVerified(id)).toBe('true')
  expect(await mailsTo(database, email)).toEqual(['email_verification', 'password_reset', 'password_changed'])
})

test('a token of each kind works once, not after its end, not for the other kind, and not after a newer one', async () => {
  const use: Record<string, (token: string) => ReturnType<typeof mutate>> = {
    password_reset: token => mutate('resetPassword', { token, newPassword: OTHER }),
    email_verification: token => mutate('verifyEmail', { token }),
  }
  const make: Record<string, (account: Account) => Promise<string>> = {
    password_reset: ({ email }) => resetTokenFor(email),
    email_verification: async ({ email, token }) => {
      expect(await outcome(mutate('requestEmailVerification', {}, token))).toBe('200')
      return mailedToken(database, 'email_verification', email)
    },
  }
  for (const [kind, other] of [
    ['password_reset', 'email_verification'],
    ['email_verification', 'password_reset'],
  ] as const) {
    const account = await newAccount()
    const first = (await make[kind]?.(account)) ?? ''
    const token = (await make[kind]?.(account)) ?? ''
    const refused = async (response = use[kind]?.(token)) => {
      expect([kind, await response?.then(outcomeOf), fieldOf(await (response as never))]).toEqual([
        kind,
        '422 invalid_input',
        'token',
      ])
    }
    await refused(use[kind]?.(first))
    await refused(use[other]?.(token))
    expect([kind, await use[kind]?.(token).then(outcomeOf)]).toEqual([kind, '200'])
    await refused()
    const late = (await make[kind]?.(account)) ?? ''
    await expireTokens()
    await refused(use[kind]?.(late))
  }
  expect(await outcome(mutate('verifyEmail', { token: '' }))).toBe('422 invalid_input')
})

test('a reset lasts for an hour and a verification for 48 hours', async () => {
  const { email } = await newAccount()
  await resetTokenFor(email)
  const { rows } = await database.owner.query(
    `select kind, round(extract(epoch from expires_at - now()) / 60)::int as minutes
     from app_private.one_time_tokens where email = $1 order by kind`,
    [email],
  )
  expect(rows).toEqual([
    { kind: 'email_verification', minutes: 48 * 60 },
    { kind: 'password_reset', minutes: 60 },
  ])
})

test('of twenty resets with one token at once, one changes the password', async () => {
  const { email } = await newAccount()
  const token = await resetTokenFor(email)
  const passwords = Array.from({ length: 20 }, (_, number) => `password number ${number}`)
  const responses = await Promise.all(
    passwords.map(newPassword => mutate('resetPassword', { token, newPassword })),
  )
  expect(countResponses(responses)).toEqual({ 200: 1, '422 invalid_input': 19 })
  const winner = responses.findIndex(({ status }) => status === 200)
  expect(await outcome(login(server, email, passwords[winner] ?? ''))).toBe('200')
  expect((await mailsTo(database, email)).filter(kind => kind === 'password_changed')).toHaveLength(1)
})

test('the second of two uses at once waits for the first, and is refused', async () => {
  const { email } = await newAccount()
  const hash = hashToken(await resetTokenFor(email))
  const use = "select app_public.complete_password_reset($1, '$argon2id$new', '\\x00')"
  await interleave(database, { first: 'owner', second: 'owner' }, async ({ first, second }) => {
    await first.query(use, [hash])
    const { result } = await second.startBlocked(use, [hash])
    await first.commit()
    expect(await sqlstate(result)).toBe('FC010')
  })
})

test('a reset lifts the block of the account, also at a known address', async () => {
  const { email } = await newAccount()
  await login(server, email, PASSWORD)
  for (let number = 0; number <= 5; number += 1) await login(server, email, 'wrong password')
  await database.owner.query(
    'insert into app_private.login_failures values (app_private.account_key($1), 9, now()) on conflict do nothing',
    [email],
  )
  expect(await outcome(login(server, email, PASSWORD))).toBe('429 rate_limit_exceeded')
  const token = await resetTokenFor(email)
  expect(await outcome(mutate('resetPassword', { token, newPassword: OTHER }))).toBe('200')
  expect(await outcome(login(server, email, OTHER))).toBe('200')
  await database.superuser.query('truncate app_private.known_addresses')
  expect(await outcome(login(server, email, OTHER))).toBe('200')
})

test('a new password follows the rules of registration, and a refused one does not use up the token', async () => {
  const { email, token: access } = await newAccount()
  const token = await resetTokenFor(email)
  for (const newPassword of ['short', 'password123', email]) {
    const reset = await mutate('resetPassword', { token, newPassword })
    const change = await mutate('changePassword', { currentPassword: PASSWORD, newPassword }, access)
    for (const response of [reset, change])
      expect([outcomeOf(response), fieldOf(response)]).toEqual(['422 invalid_input', 'newPassword'])
  }
  expect(await outcome(mutate('resetPassword', { token, newPassword: OTHER }))).toBe('200')
})

test('refused new passwords do not count as failed logins, wrong current ones do', async () => {
  const { email, token } = await newAccount()
  const change = (currentPassword: string, newPassword = 'short') =>
    outcome(mutate('changePassword', { currentPassword, newPassword }, token))
  for (let number = 0; number < 7; number += 1) expect(await change(PASSWORD)).toBe('422 invalid_input')
  for (let number = 0; number < 3; number += 1)
    expect(await change('wrong password')).toBe('401 invalid_credentials')
  for (let number = 0; number < 2; number += 1) {
    const input = { password: 'wrong password', newEmail: 'new@example.com' }
    expect(await outcome(mutate('changeEmail', input, token))).toBe('401 invalid_credentials')
  }
  expect(await change(PASSWORD, OTHER)).toBe('429 rate_limit_exceeded')
  expect(await outcome(login(server, email, PASSWORD))).toBe('429 rate_limit_exceeded')
})

test('a change of the password opens a session, ends an open reset and tells the user', async () => {
  const { email, id, token } = await newAccount()
  await mutate('verifyEmail', { token: await mailedToken(database, 'email_verification', email) })
  const reset = await resetTokenFor(email)
  const { data } = await mutate('changePassword', { currentPassword: PASSWORD, newPassword: OTHER }, token)
  expect(data.changePassword?.session?.user).toEqual({ id, email })
  expect(await outcome(login(server, email, OTHER))).toBe('200')
  expect(await outcome(mutate('resetPassword', { token: reset, newPassword: PASSWORD }))).toBe(
    '422 invalid_input',
  )
  expect((await mailsTo(database, email)).at(-1)).toBe('password_changed')
})

test('a profile changes only in what is given, and refuses other languages', async () => {
  const { token } = await newAccount('de')
  const update = async (input: object) =>
    (await mutate('updateProfile', input, token)).data.updateProfile?.user
  expect(await update({ fullName: ' Zoë ' })).toMatchObject({ fullName: 'Zoë', locale: 'de' })
  expect(await update({ locale: 'en' })).toMatchObject({ fullName: 'Zoë', locale: 'en' })
  for (const [field, value] of [
    ['locale', 'fr'],
    ['fullName', ' '],
  ] as const) {
    const response = await mutate('updateProfile', { [field]: value }, token)
    expect([outcomeOf(response), fieldOf(response)]).toEqual(['422 invalid_input', field])
  }
  expect(
    await outcome(register(server, { email: 'x@example.com', password: PASSWORD, locale: 'fr' } as never)),
  ).toBe('422 invalid_input')
})

const PERSONAL = {
  requestEmailVerification: {},
  changeEmail: { password: PASSWORD, newEmail: 'new@example.com' },
  changePassword: { currentPassword: PASSWORD, newPassword: OTHER },
  updateProfile: { locale: 'de' },
}

test.each(Object.entries(PERSONAL))('%s needs a user who exists and is not locked', async (name, input) => {
  expect(await outcome(mutate(name, input))).toBe('401 unauthenticated')
  const unknown = await server.tokenFor(randomUUID())
  expect(await outcome(mutate(name, input, unknown))).toBe('401 unauthenticated')
  const { id, token } = await newAccount()
  await database.owner.query('update app_public.users set locked_at = now() where id = $1', [id])
  expect(await outcome(mutate(name, input, token))).toBe('401 unauthenticated')
})

test('a locked account gets no reset, and its open tokens do not work', async () => {
  const { email, id } = await newAccount()
  const reset = await resetTokenFor(email)
  await database.owner.query('update app_public.users set locked_at = now() where id = $1', [id])
  for (const response of [
    mutate('resetPassword', { token: reset, newPassword: OTHER }),
    mutate('verifyEmail', { token: await mailedToken(database, 'email_verification', email) }),
  ])
    expect(await outcome(response)).toBe('422 invalid_input')
  expect(await outcome(mutate('requestPasswordReset', { email }))).toBe('200')
  const { rows } = await database.owner.query(
    "select expires_at <= now() as dropped from app_private.mails where recipient = $1 and kind = 'password_reset' order by id",
    [email],
  )
  expect(rows).toEqual([{ dropped: false }, { dropped: true }])
})

test('neither the log nor any table contains a token or a new password', async () => {
  const { email } = await newAccount()
  const token = await resetTokenFor(email)
  const verification = await mailedToken(database, 'email_verification', email)
  await mutate('resetPassword', { token, newPassword: 'short' })
  await mutate('resetPassword', { token, newPassword: OTHER })
  await mutate('verifyEmail', { token: verification })
  await mutate('verifyEmail', { token: verification })
  const { rows: tables } = await database.superuser.query<{ label: string }>(
    "select c.oid::regclass::text as label from pg_class as c where c.relkind in ('r', 'p') and c.relnamespace::regnamespace::text ~ '^(app_|graphile_worker)'",
  )
  let stored = ''
  for (const { label } of tables) {
    const { rows } = await database.superuser.query(`select t::text as row from ${label} as t`)
    stored += rows.map(({ row }) => row).join('\n')
  }
  expect(stored).toContain(email)
  for (const secret of [token, verification, OTHER]) {
    for (const form of [secret, Buffer.from(secret).toString('hex')]) {
      expect(stored).not.toContain(form)
      expect(log.text()).not.toContain(form)
    }
  }
  expect(log.text()).not.toContain(email)
})
