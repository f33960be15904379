/** The limit of failed logins of one account: attackers at many addresses, and the owner at a known one. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { ApiResponse, TestServer } from '../support/apiServer.ts'
import { countResponses, register, type Session } from '../support/graphqlOperations.ts'
import {
  behindProxy,
  expectMoment,
  type Limited,
  metric,
  onlyLimits,
  outcomeOf,
  refusedBy,
  remaining,
  startLimited,
} from '../support/limits.ts'
import { until } from '../support/waits.ts'

let limited: Limited
let one: TestServer
let two: TestServer

beforeAll(async () => {
  limited = await startLimited(behindProxy)
  ;[one, two] = limited.servers
})

beforeEach(() => onlyLimits(limited, { auth_account: { max: 5, window: 900 } }))

afterAll(() => limited.stop())

const password = 'correct horse battery staple'
const LOGIN =
  'mutation ($input: LoginInput!) { login(input: $input) { session { accessToken user { email } } } }'
const STRANGER = '203.0.113.1'
const OWNER = '198.51.100.7'
const newEmail = () => `${randomUUID()}@example.com`

async function makeAccount(): Promise<string> {
  const email = newEmail()
  expect((await register(one, { email, password })).status).toBe(200)
  return email
}

/** How to make an existing and an unknown account. */
const targets = { existing: makeAccount, unknown: async () => newEmail() }

type Login = ApiResponse<{ login: { session: Session } | null }>

function login(email: string, from: string, guess = 'wrong password', server = one): Promise<Login> {
  const headers = { 'x-forwarded-for': from }
  return server.call(LOGIN, { headers, variables: { input: { email, password: guess } } })
}

async function failLogins(times: number, email: string, from: string): Promise<string[]> {
  const found: string[] = []
  for (let number = 0; number < times; number += 1) found.push(outcomeOf(await login(email, from)))
  return found
}

const WRONG = '401 invalid_credentials'
const REFUSED = '429 rate_limit_exceeded'
const wrong = (times: number) => Array.from({ length: times }, () => WRONG)

test.each(Object.entries(targets))(
  'of wrong passwords for one account from twenty addresses, the sixth and all later ones are refused: %s account',
  async (_, target) => {
    const email = await target()
    const found: string[] = []
    for (let number = 0; number < 20; number += 1) {
      const server = number % 2 ? one : two
      const spelled = number % 3 ? email : ` ${email.toUpperCase()} `
      found.push(outcomeOf(await login(spelled, `203.0.113.${number}`, `wrong ${number}`, server)))
    }
    expect(found).toEqual([...wrong(5), ...Array.from({ length: 15 }, () => REFUSED)])
    expect(outcomeOf(await login(email, '203.0.113.200', password))).toBe(REFUSED)
  },
)

test.each(Object.entries(targets))(
  'of twenty parallel wrong passwords from twenty addresses, five are verified and fifteen refused: %s account',
  async (_, target) => {
    const email = await target()
    const all = Array.from({ length: 20 }, (_, n) =>
      login(email, `203.0.113.${n}`, `wrong ${n}`, n % 2 ? one : two),
    )
    expect(countResponses(await Promise.all(all))).toEqual({ [WRONG]: 5, [REFUSED]: 15 })
  },
)

/** A response without the parts that differ between requests or accounts. */
function withoutVariableParts({ status, text, headers, errors }: ApiResponse<unknown>): unknown[] {
  const key = (errors[0]?.extensions.meta as { limit_key?: string } | undefined)?.limit_key ?? '-'
  const { date: _, 'x-request-id': __, ...stable } = Object.fromEntries(headers)
  const seconds = headers.get('retry-after') ?? '-'
  const masked = Object.entries(stable).map(([name, value]) =>
    /^(retry-after|x-ratelimit-reset)$/.test(name) ? [name, value.length] : [name, value],
  )
  return [status, text.replace(key, 'KEY').replaceAll(seconds, 'SECONDS'), masked]
}

test('an existing and an unknown account get the same response at each of seven attempts', async () => {
  const [existing, unknown] = [await makeAccount(), newEmail()]
  for (let attempt = 1; attempt <= 7; attempt += 1) {
    const seen = await login(existing, STRANGER)
    expect(withoutVariableParts(await login(unknown, STRANGER))).toEqual(withoutVariableParts(seen))
    expect(outcomeOf(seen)).toBe(attempt <= 5 ? WRONG : REFUSED)
  }
})

test('failed logins of an account are in the metrics, and a refusal is in the log without the e-mail address', async () => {
  const email = await makeAccount()
  const counted = (outcome: string) =>
    metric(one, `rate_limit_checks_total{policy="auth_account",outcome="${outcome}"}`)
  const before = [await counted('allowed'), await counted('refused')]
  await failLogins(7, email, STRANGER)
  const after = [await counted('allowed'), await counted('refused')]
  expect(after.map((value, index) => value - (before[index] ?? 0))).toEqual([5, 2])
  await until('the refusal is logged', () =>
    limited.log.lines.some(({ scope, address }) => scope === 'auth_account' && address === STRANGER),
  )
  expect(limited.log.text()).not.toContain(email)
})

test('a refusal has the documented form; its key reveals neither the e-mail address nor whether the account exists', async () => {
  const email = await makeAccount()
  const startedAt = Date.now() / 1000
  await failLogins(5, email, STRANGER)
  const sentAt = Date.now() / 1000
  const { status, text, headers } = await login(email, STRANGER)
  const seconds = headers.get('retry-after') ?? ''
  const [, key = ''] = /"limit_key":"(account:[0-9a-f]{16}:auth_account)"/.exec(text) ?? []
  expect(status).toBe(429)
  // GraphQL adds fields to any error, such as the path
  expect(JSON.parse(text).errors).toEqual([
    expect.objectContaining({
      message: `Too many requests. Please try again in ${seconds} seconds.`,
      extensions: {
        code: 'rate_limit_exceeded',
        detail: { scope: 'auth_account' },
        meta: { limit_key: key, retry_after_seconds: Number(seconds) },
      },
    }),
  ])
  const names = ['x-ratelimit-limit', 'x-ratelimit-remaining']
  expect(names.map(name => headers.get(name))).toEqual(['5', '0'])
  const reset = Number(headers.get('x-ratelimit-reset'))
  expectMoment(reset - 900, startedAt)
  expectMoment(reset - Number(seconds), sentAt)
  expect(text).not.toContain(email)
  expect(limited.log.text()).not.toContain(email)
})

test("a stranger's failures do not lock out the owner at an address with an earlier login", async () => {
  const email = await makeAccount()
  expect(outcomeOf(await login(email, OWNER, password))).toBe('200')
  expect(await failLogins(6, email, STRANGER)).toEqual([...wrong(5), REFUSED])
  for (const server of [one, two]) expect(outcomeOf(await login(email, OWNER, password, server))).toBe('200')
  expect(outcomeOf(await login(email, STRANGER, password))).toBe(REFUSED)
  expect(outcomeOf(await login(email, '198.51.100.8', password))).toBe(REFUSED)
})

test('the sixth failure from a known address is refused, and locks out no other address', async () => {
  const email = await makeAccount()
  await login(email, OWNER, password)
  expect(await failLogins(6, email, OWNER)).toEqual([...wrong(5), REFUSED])
  expect(outcomeOf(await login(email, OWNER, password))).toBe(REFUSED)
  expect(outcomeOf(await login(email, STRANGER, password))).toBe('200')
})

test('a login makes the address known for its own account only', async () => {
  const [mine, yours] = [await makeAccount(), await makeAccount()]
  await login(mine, STRANGER, password)
  await failLogins(5, yours, '203.0.113.2')
  expect(outcomeOf(await login(yours, STRANGER, password))).toBe(REFUSED)
})

test('an address stays known for 30 days, and an IPv6 address by its /56', async () => {
  const email = await makeAccount()
  await login(email, '2001:db8:1:100::1', password)
  await login(email, OWNER, password)
  await failLogins(5, email, STRANGER)
  expect(outcomeOf(await login(email, '2001:db8:1:1ff::99', password))).toBe('200')
  expect(outcomeOf(await login(email, '2001:db8:1:200::1', password))).toBe(REFUSED)
  await limited.database.superuser.query(
    "update app_private.known_addresses set last_login_at = last_login_at - 30 * interval '24 hours'",
  )
  for (const address of ['2001:db8:1:1ff::99', OWNER])
    expect(outcomeOf(await login(email, address, password))).toBe(REFUSED)
})

test('a client behind the proxy cannot pretend the known address by a header', async () => {
  const email = await makeAccount()
  await login(email, OWNER, password)
  await failLogins(5, email, STRANGER)
  const headers = {
    'x-forwarded-for': `${OWNER}, ${STRANGER}`,
    forwarded: `for=${OWNER}`,
    'x-real-ip': OWNER,
  }
  const response = await one.call(LOGIN, { headers, variables: { input: { email, password } } })
  expect([outcomeOf(response), refusedBy(response)]).toEqual([REFUSED, 'auth_account'])
})

test('an UPDATE of the policy auth_account takes effect at once: limit, window and mode', async () => {
  const change = (set: string) =>
    limited.database.owner.query(
      `update app_public.rate_limit_policies set ${set} where scope = 'auth_account'`,
    )
  const email = await makeAccount()
  await change('max_count = 2')
  expect(await failLogins(3, email, STRANGER)).toEqual([...wrong(2), REFUSED])
  await change('max_count = 6')
  expect(await failLogins(4, email, STRANGER)).toEqual([...wrong(3), REFUSED])
  await change('window_seconds = 60')
  await limited.database.superuser.query(
    "update app_private.login_failures set window_started_at = window_started_at - interval '60 seconds'",
  )
  expect(outcomeOf(await login(email, STRANGER))).toBe(WRONG)
  await change("window_seconds = 900, max_count = 1, mode = 'shadow'")
  const shadowed = () =>
    metric(one, 'rate_limit_checks_total{policy="auth_account",outcome="shadow_refused"}')
  const before = await shadowed()
  expect(await failLogins(3, email, STRANGER)).toEqual(wrong(3))
  expect((await shadowed()) - before).toBe(3)
  await change("mode = 'off'")
  expect(await failLogins(3, email, STRANGER)).toEqual(wrong(3))
})

test('without the policy auth_account nobody can log in, so guessing is never unlimited', async () => {
  const { owner, superuser } = limited.database
  const email = await makeAccount()
  await owner.query(
    "create table saved as select * from app_public.rate_limit_policies where scope = 'auth_account'",
  )
  await superuser.query(
    "set session_replication_role = 'replica'; delete from app_public.rate_limit_policies where scope = 'auth_account'; reset session_replication_role",
  )
  try {
    expect(outcomeOf(await login(email, STRANGER, password))).toBe('500 internal_error')
  } finally {
    await owner.query('insert into app_public.rate_limit_policies table saved')
    await owner.query('drop table saved')
  }
})

test('logins also count by address, over all accounts', async () => {
  await onlyLimits(limited, { auth_account: { max: 5, window: 900 }, auth_login: { max: 3 } })
  for (let number = 0; number < 3; number += 1) {
    const response = await login(newEmail(), STRANGER, 'wrong password', number % 2 ? one : two)
    expect([outcomeOf(response), remaining(response)]).toEqual([WRONG, 2 - number])
  }
  expect(refusedBy(await login(newEmail(), STRANGER))).toBe('auth_login')
  expect(outcomeOf(await login(newEmail(), OWNER))).toBe(WRONG)
})
