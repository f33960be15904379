/** Guessing at one account from many addresses, and what that does to its owner. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import {
  behindProxy,
  type Limited,
  metric,
  onlyLimits,
  refusedBy,
  remaining,
  startLimited,
  told,
} from '../../support/limits.ts'
import { register, type Session, tallyAnswers } from '../../support/operations.ts'
import type { Answer, TestServer } from '../../support/server.ts'
import { until } from '../../support/waits.ts'

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

/** An account that exists, and an address that is unknown. */
const targets = { existing: makeAccount, unknown: async () => newEmail() }

type Login = Answer<{ login: { session: Session } | null }>

function login(email: string, from: string, guess = 'wrong password', server = one): Promise<Login> {
  const headers = { 'x-forwarded-for': from }
  return server.call(LOGIN, { headers, variables: { input: { email, password: guess } } })
}

async function fail(times: number, email: string, from: string): Promise<string[]> {
  const found: string[] = []
  for (let number = 0; number < times; number += 1) found.push(told(await login(email, from)))
  return found
}

const WRONG = '401 invalid_credentials'
const REFUSED = '429 rate_limit_exceeded'
const wrong = (times: number) => Array.from({ length: times }, () => WRONG)

test.each(Object.entries(targets))(
  'twenty wrong passwords on one account from twenty addresses are stopped at the sixth: %s account',
  async (_, target) => {
    const email = await target()
    const found: string[] = []
    for (let number = 0; number < 20; number += 1) {
      const server = number % 2 ? one : two
      const spelled = number % 3 ? email : ` ${email.toUpperCase()} `
      found.push(told(await login(spelled, `203.0.113.${number}`, `wrong ${number}`, server)))
    }
    expect(found).toEqual([...wrong(5), ...Array.from({ length: 15 }, () => REFUSED)])
    expect(told(await login(email, '203.0.113.200', password))).toBe(REFUSED)
  },
)

test.each(Object.entries(targets))(
  'of twenty wrong passwords at once from twenty addresses five are looked at: %s account',
  async (_, target) => {
    const email = await target()
    const all = Array.from({ length: 20 }, (_, n) =>
      login(email, `203.0.113.${n}`, `wrong ${n}`, n % 2 ? one : two),
    )
    expect(tallyAnswers(await Promise.all(all))).toEqual({ [WRONG]: 5, [REFUSED]: 15 })
  },
)

/** An answer without what differs from one request to the next, or from one account to the next. */
function look({ status, text, headers, errors }: Answer<unknown>): unknown[] {
  const key = (errors[0]?.extensions.meta as { limit_key?: string } | undefined)?.limit_key ?? '-'
  const { date: _, 'x-request-id': __, ...stable } = Object.fromEntries(headers)
  const masked = Object.entries(stable).map(([name, value]) =>
    /^(retry-after|x-ratelimit-reset)$/.test(name) ? [name, value.length] : [name, value],
  )
  return [status, text.replace(key, 'KEY').replace(/\b(89\d|900)\b/g, 'SECONDS'), masked]
}

test('existing and unknown account look alike at each of seven attempts: status, body and headers', async () => {
  const [existing, unknown] = [await makeAccount(), newEmail()]
  for (let attempt = 1; attempt <= 7; attempt += 1) {
    const seen = await login(existing, STRANGER)
    expect(look(await login(unknown, STRANGER))).toEqual(look(seen))
    expect(told(seen)).toBe(attempt <= 5 ? WRONG : REFUSED)
  }
})

const median = (values: number[]) => values.toSorted((one, other) => one - other)[values.length >> 1] ?? 0

test('existing and unknown account take the same time: medians within 5 %', async () => {
  await onlyLimits(limited, { auth_account: { max: 100_000 } })
  const [existing, unknown] = [await makeAccount(), newEmail()]
  const took = async (email: string) => {
    const startedAt = performance.now()
    expect(told(await login(email, STRANGER))).toBe(WRONG)
    return performance.now() - startedAt
  }
  const times = { existing: [] as number[], unknown: [] as number[] }
  const apart = () => Math.abs(median(times.existing) / median(times.unknown) - 1)
  for (let pair = 0; pair < 60 || (apart() > 0.05 && pair < 600); pair++) {
    // by turns in either order: what else the machine does meets both alike
    if (pair % 2) times.existing.push(await took(existing))
    times.unknown.push(await took(unknown))
    if (!(pair % 2)) times.existing.push(await took(existing))
  }
  expect(apart()).toBeLessThanOrEqual(0.05)
})

test('what is counted on an account is in the metrics, and a refusal in the log without the address of the mail', async () => {
  const email = await makeAccount()
  const counted = (outcome: string) =>
    metric(one, `rate_limit_checks_total{policy="auth_account",outcome="${outcome}"}`)
  const before = [await counted('allowed'), await counted('refused')]
  await fail(7, email, STRANGER)
  const after = [await counted('allowed'), await counted('refused')]
  expect(after.map((value, index) => value - (before[index] ?? 0))).toEqual([5, 2])
  await until('the refusal is logged', () =>
    limited.log.lines.some(({ scope, address }) => scope === 'auth_account' && address === STRANGER),
  )
  expect(limited.log.text()).not.toContain(email)
})

test('the refusal is the contract, with a key that tells neither the address nor whether it is known', async () => {
  const email = await makeAccount()
  await fail(5, email, STRANGER)
  const { status, text, headers } = await login(email, STRANGER)
  const seconds = headers.get('retry-after') ?? ''
  expect(Number(seconds)).toBeGreaterThan(890)
  const [, key = ''] = /"limit_key":"(account:[0-9a-f]{16}:auth_account)"/.exec(text) ?? []
  expect(status).toBe(429)
  // further fields, such as a path, are those of any error of GraphQL
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
  expect(
    Math.abs(Number(headers.get('x-ratelimit-reset')) - Date.now() / 1000 - Number(seconds)),
  ).toBeLessThan(2)
  expect(text).not.toContain(email)
  expect(limited.log.text()).not.toContain(email)
})

test("a stranger's failures do not lock the owner out of an address from which the account was logged in to", async () => {
  const email = await makeAccount()
  expect(told(await login(email, OWNER, password))).toBe('200')
  expect(await fail(6, email, STRANGER)).toEqual([...wrong(5), REFUSED])
  for (const server of [one, two]) expect(told(await login(email, OWNER, password, server))).toBe('200')
  expect(told(await login(email, STRANGER, password))).toBe(REFUSED)
  expect(told(await login(email, '198.51.100.8', password))).toBe(REFUSED)
})

test('the sixth failure from the known address is refused too, and locks nobody else out', async () => {
  const email = await makeAccount()
  await login(email, OWNER, password)
  expect(await fail(6, email, OWNER)).toEqual([...wrong(5), REFUSED])
  expect(told(await login(email, OWNER, password))).toBe(REFUSED)
  expect(told(await login(email, STRANGER, password))).toBe('200')
})

test('an account of the attacker makes the address known for that account alone', async () => {
  const [mine, yours] = [await makeAccount(), await makeAccount()]
  await login(mine, STRANGER, password)
  await fail(5, yours, '203.0.113.2')
  expect(told(await login(yours, STRANGER, password))).toBe(REFUSED)
})

test('a known address is known for 30 days, and by its /56 where it is IPv6', async () => {
  const email = await makeAccount()
  await login(email, '2001:db8:1:100::1', password)
  await login(email, OWNER, password)
  await fail(5, email, STRANGER)
  expect(told(await login(email, '2001:db8:1:1ff::99', password))).toBe('200')
  expect(told(await login(email, '2001:db8:1:200::1', password))).toBe(REFUSED)
  await limited.database.superuser.query(
    "update app_private.known_addresses set last_login_at = last_login_at - 30 * interval '24 hours'",
  )
  for (const address of ['2001:db8:1:1ff::99', OWNER])
    expect(told(await login(email, address, password))).toBe(REFUSED)
})

test('no header of a client behind the proxy makes it the known address', async () => {
  const email = await makeAccount()
  await login(email, OWNER, password)
  await fail(5, email, STRANGER)
  const headers = {
    'x-forwarded-for': `${OWNER}, ${STRANGER}`,
    forwarded: `for=${OWNER}`,
    'x-real-ip': OWNER,
  }
  const answer = await one.call(LOGIN, { headers, variables: { input: { email, password } } })
  expect([told(answer), refusedBy(answer)]).toEqual([REFUSED, 'auth_account'])
})

test('changes to the policy auth_account by UPDATE take effect at once: limit, window and mode', async () => {
  const change = (set: string) =>
    limited.database.owner.query(
      `update app_public.rate_limit_policies set ${set} where scope = 'auth_account'`,
    )
  const email = await makeAccount()
  await change('max_count = 2')
  expect(await fail(3, email, STRANGER)).toEqual([...wrong(2), REFUSED])
  await change('max_count = 6')
  expect(await fail(4, email, STRANGER)).toEqual([...wrong(3), REFUSED])
  await change('window_seconds = 1')
  await limited.database.superuser.query(
    "update app_private.login_failures set window_started_at = window_started_at - interval '1 second'",
  )
  expect(told(await login(email, STRANGER))).toBe(WRONG)
  await change("window_seconds = 900, max_count = 1, mode = 'shadow'")
  const shadowed = () =>
    metric(one, 'rate_limit_checks_total{policy="auth_account",outcome="shadow_refused"}')
  const before = await shadowed()
  expect(await fail(3, email, STRANGER)).toEqual(wrong(3))
  expect((await shadowed()) - before).toBe(3)
  await change("mode = 'off'")
  expect(await fail(3, email, STRANGER)).toEqual(wrong(3))
})

test('without the policy auth_account, which only a superuser can delete, nobody logs in: guessing is never unlimited', async () => {
  const { owner, superuser } = limited.database
  const email = await makeAccount()
  await owner.query(
    "create table saved as select * from app_public.rate_limit_policies where scope = 'auth_account'",
  )
  await superuser.query(
    "set session_replication_role = 'replica'; delete from app_public.rate_limit_policies where scope = 'auth_account'; reset session_replication_role",
  )
  try {
    expect(told(await login(email, STRANGER, password))).toBe('500 internal_error')
  } finally {
    await owner.query('insert into app_public.rate_limit_policies table saved')
    await owner.query('drop table saved')
  }
})

test('logins of one address count on it as well, whatever the accounts', async () => {
  await onlyLimits(limited, { auth_account: { max: 5, window: 900 }, auth_login: { max: 3 } })
  for (let number = 0; number < 3; number += 1) {
    const answer = await login(newEmail(), STRANGER, 'wrong password', number % 2 ? one : two)
    expect([told(answer), remaining(answer)]).toEqual([WRONG, 2 - number])
  }
  expect(refusedBy(await login(newEmail(), STRANGER))).toBe('auth_login')
  expect(told(await login(newEmail(), OWNER))).toBe(WRONG)
})
