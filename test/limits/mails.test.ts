/** The limits auth_mail, by address, and auth_recovery, by client. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { TestServer } from '../support/apiServer.ts'
import { register } from '../support/graphqlOperations.ts'
import { type Limited, metric, onlyLimits, outcomeOf, refusedBy, startLimited } from '../support/limits.ts'
import { mailsTo } from '../support/mails.ts'

const PASSWORD = 'correct horse battery'

let limited: Limited
let one: TestServer
let two: TestServer

beforeAll(async () => {
  limited = await startLimited()
  ;[one, two] = limited.servers
})

beforeEach(() => onlyLimits(limited, { auth_mail: { max: 3, window: 3600 } }))

afterAll(() => limited.stop())

const newEmail = () => `${randomUUID()}@example.com`

function reset(email: string, server = one) {
  const query = 'mutation ($email: String!) { requestPasswordReset(input: { email: $email }) { ok } }'
  return server.call(query, { variables: { email } })
}

async function newAccount(): Promise<{ email: string; token: string }> {
  const email = newEmail()
  const { data } = await register(one, { email, password: PASSWORD })
  return { email, token: data.register?.session.accessToken ?? '' }
}

test('of mails to one address the fourth is refused, by whichever mutation and process, whether an account has it or not', async () => {
  const { email, token } = await newAccount()
  const verify = 'mutation { requestEmailVerification(input: {}) { ok } }'
  expect(outcomeOf(await reset(email))).toBe('200')
  expect(outcomeOf(await reset(` ${email.toUpperCase()}`, two))).toBe('200')
  expect(outcomeOf(await two.call(verify, { token }))).toBe('200')
  for (const response of [await reset(email), await one.call(verify, { token })])
    expect([outcomeOf(response), refusedBy(response)]).toEqual(['429 rate_limit_exceeded', 'auth_mail'])
  expect((await mailsTo(limited.database, email)).length).toBe(4)
  const unknown = newEmail()
  for (const server of [one, two, one]) expect(outcomeOf(await reset(unknown, server))).toBe('200')
  expect(refusedBy(await reset(unknown))).toBe('auth_mail')
})

test('a change of address counts for the new address', async () => {
  const { email, token } = await newAccount()
  const next = newEmail()
  const change = 'mutation ($input: ChangeEmailInput!) { changeEmail(input: $input) { ok } }'
  const variables = { input: { password: PASSWORD, newEmail: next } }
  for (let number = 0; number < 3; number += 1)
    expect(outcomeOf(await one.call(change, { token, variables }))).toBe('200')
  expect(refusedBy(await one.call(change, { token, variables }))).toBe('auth_mail')
  expect(refusedBy(await reset(next))).toBe('auth_mail')
  expect(outcomeOf(await reset(email))).toBe('200')
})

test('twenty requests at once send three mails', async () => {
  const { email } = await newAccount()
  const responses = await Promise.all(
    Array.from({ length: 20 }, (_, number) => reset(email, number % 2 ? one : two)),
  )
  expect(responses.filter(({ status }) => status === 200)).toHaveLength(3)
  expect(responses.filter(({ status }) => status === 429)).toHaveLength(17)
})

test('a refusal has the documented form, and its key reveals no address', async () => {
  const email = newEmail()
  for (let number = 0; number < 3; number += 1) await reset(email)
  const { headers, text, errors } = await reset(email)
  const seconds = Number(headers.get('retry-after'))
  expect(errors[0]?.extensions).toMatchObject({
    code: 'rate_limit_exceeded',
    detail: { scope: 'auth_mail' },
    meta: {
      limit_key: expect.stringMatching(/^account:[0-9a-f]{16}:auth_mail$/),
      retry_after_seconds: seconds,
    },
  })
  expect(seconds).toBeGreaterThan(3500)
  const names = ['x-ratelimit-limit', 'x-ratelimit-remaining']
  expect(names.map(name => headers.get(name))).toEqual(['3', '0'])
  expect(text + limited.log.text()).not.toContain(email)
})

test('in shadow mode mails pass and are counted; off, they are neither counted nor refused', async () => {
  const shadowed = () => metric(one, 'rate_limit_checks_total{policy="auth_mail",outcome="shadow_refused"}')
  await onlyLimits(limited, { auth_mail: { max: 1, mode: 'shadow' } })
  const before = await shadowed()
  const email = newEmail()
  for (let number = 0; number < 3; number += 1) expect(outcomeOf(await reset(email))).toBe('200')
  expect((await shadowed()) - before).toBe(2)
  await onlyLimits(limited, {})
  for (let number = 0; number < 3; number += 1) expect(outcomeOf(await reset(email))).toBe('200')
  expect((await shadowed()) - before).toBe(2)
})

test('resets and verifications count together by client', async () => {
  await onlyLimits(limited, { auth_recovery: { max: 3 } })
  const verify = 'mutation { verifyEmail(input: { token: "a" }) { user { id } } }'
  const use =
    'mutation { resetPassword(input: { token: "a", newPassword: "another horse" }) { session { accessToken } } }'
  expect(outcomeOf(await reset(newEmail()))).toBe('200')
  expect(outcomeOf(await two.call(verify))).toBe('422 invalid_input')
  expect(outcomeOf(await one.call(use))).toBe('422 invalid_input')
  for (const response of [await reset(newEmail()), await one.call(use), await two.call(verify)])
    expect(refusedBy(response)).toBe('auth_recovery')
})
