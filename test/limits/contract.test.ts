/** The responses of the limits, and their effect on all processes when a policy changes. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type ApiResponse, createListing, startServer, type TestServer } from '../support/apiServer.ts'
import {
  type Change,
  expectMoment,
  type Limited,
  metric,
  onlyLimits,
  outcomeOf,
  passSeconds,
  quotes,
  refusedBy,
  remaining,
  startLimited,
} from '../support/limits.ts'
import { makeAdmin } from '../support/seller.ts'
import { makeUser } from '../support/testData.ts'
import { until } from '../support/waits.ts'

let limited: Limited
let one: TestServer
let two: TestServer

beforeAll(async () => {
  limited = await startLimited()
  ;[one, two] = limited.servers
})

afterAll(async () => {
  await limited.stop()
})

const turn = (number: number) => (number % 2 ? one : two)
const only = (limits: Record<string, Change>) => onlyLimits(limited, limits)
const read = (server: TestServer) => server.call('{ __typename }')
const limitOf = ({ headers }: ApiResponse<unknown>) => Number(headers.get('x-ratelimit-limit'))

test('a response has the limit, the remaining count and the end of the window; a refusal is the contract, byte by byte', async () => {
  await only({ listing_create: { max: 3, window: 60 } })
  const userId = await makeUser(limited.database.owner)
  const token = await one.tokenFor(userId)
  const startedAt = Date.now() / 1000
  for (const left of ['2', '1', '0']) {
    const { headers, errors } = await createListing(turn(Number(left)), token, randomUUID())
    expect(errors[0]?.extensions.code).not.toBe('rate_limit_exceeded')
    const rate = ['limit', 'remaining'].map(name => headers.get(`x-ratelimit-${name}`))
    expect([...rate, headers.get('retry-after')]).toEqual(['3', left, null])
    const reset = headers.get('x-ratelimit-reset') ?? ''
    expect(reset).toMatch(/^\d{10}$/)
    expectMoment(Number(reset) - 60, startedAt)
  }
  for (const server of [one, two, one]) {
    const sentAt = Date.now() / 1000
    const { status, headers, text } = await createListing(server, token, randomUUID())
    const seconds = headers.get('retry-after') ?? ''
    expect(seconds).toMatch(/^[1-9]\d*$/)
    expect(text).toBe(
      `{"errors":[{"message":"Too many requests. Please try again in ${seconds} seconds.","extensions":{"code":"rate_limit_exceeded","detail":{"scope":"listing_create"},"meta":{"limit_key":"user:${userId}:listing_create","retry_after_seconds":${seconds}}}}]}`,
    )
    const names = ['content-type', 'content-length', 'x-ratelimit-limit', 'x-ratelimit-remaining']
    expect([status, ...names.map(name => headers.get(name))]).toEqual([
      429,
      'application/graphql-response+json; charset=utf-8',
      String(Buffer.byteLength(text)),
      '3',
      '0',
    ])
    const reset = Number(headers.get('x-ratelimit-reset'))
    expectMoment(reset - Number(seconds), sentAt)
    expect([...headers.keys()].filter(name => /^ratelimit/.test(name))).toEqual([])
  }
})

test('a refused client passes after the seconds of Retry-After, and not before', async () => {
  await only({ public_read: { max: 2, window: 600 } })
  const responses = [await read(one), await read(two), await read(one)]
  expect(responses.map(outcomeOf)).toEqual(['200', '200', '429 rate_limit_exceeded'])
  const seconds = Number(responses[2]?.headers.get('retry-after'))
  // time that the test may take until it asks again
  const margin = 60
  await passSeconds(limited, seconds - margin)
  const early = await read(two)
  expect(outcomeOf(early)).toBe('429 rate_limit_exceeded')
  expect(Number(early.headers.get('retry-after'))).toBeLessThanOrEqual(margin)
  await passSeconds(limited, margin)
  expect(outcomeOf(await read(one))).toBe('200')
})

test('a request that one limit refuses is not charged to its other limits', async () => {
  await only({ pricing_quote: { max: 3 }, public_read: { max: 50 } })
  for (let number = 0; number < 3; number += 1) await turn(number).call(`{ ${quotes(1)} }`)
  // from both servers, so that the shared counter refuses and not only a cached refusal
  for (let number = 0; number < 10; number += 1)
    expect(refusedBy(await turn(number).call(`{ ${quotes(1)} }`))).toBe('pricing_quote')
  expect(remaining(await read(one))).toBe(46)
})

test('a request that is refused for its high cost does not block a cheaper one', async () => {
  await only({ pricing_quote: { max: 10 } })
  await one.call(`{ ${quotes(5)} }`)
  expect(refusedBy(await one.call(`{ ${quotes(6)} }`))).toBe('pricing_quote')
  const next = await one.call(`{ ${quotes(2)} }`)
  expect([refusedBy(next), remaining(next)]).toEqual([undefined, 3])
})

test.each(['reported by NOTIFY', 'found by the poll'])(
  'a limit that is changed by UPDATE holds on both servers: %s',
  async how => {
    await only({ public_read: { max: 500 } })
    expect([limitOf(await read(one)), limitOf(await read(two))]).toEqual([500, 500])
    if (how === 'found by the poll') {
      await limited.database.superuser.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'forecourt listener'",
      )
    }
    await limited.database.owner.query(
      "update app_public.rate_limit_policies set max_count = 7 where scope = 'public_read'",
    )
    const changed = async () => limitOf(await read(one)) === 7 && limitOf(await read(two)) === 7
    await until('both servers have the new limit', changed)
    expect(await metric(one, 'rate_limit_config_errors_total')).toBe(0)
  },
)

test('a raised limit ends the refusals of the old one', async () => {
  await only({ public_read: { max: 1 } })
  expect([outcomeOf(await read(one)), outcomeOf(await read(one))]).toEqual(['200', '429 rate_limit_exceeded'])
  await limited.database.owner.query(
    "update app_public.rate_limit_policies set max_count = 900 where scope = 'public_read'",
  )
  await until('the next one passes', async () => (await read(one)).status === 200)
})

test('the mode shadow allows, counts and logs; the mode off neither counts nor logs', async () => {
  const outcome = 'rate_limit_checks_total{policy="public_read",outcome="shadow_refused"}'
  const counted = async () => (await metric(one, outcome)) + (await metric(two, outcome))
  const lines = () => limited.log.lines.filter(({ msg }) => msg === 'a rate limit in shadow mode is exceeded')
  await only({ public_read: { max: 2, mode: 'shadow' } })
  const [before, linesBefore] = [await counted(), lines().length]
  for (let number = 0; number < 5; number += 1) expect(outcomeOf(await read(turn(number)))).toBe('200')
  expect((await counted()) - before).toBe(3)
  await until('all three are logged', () => lines().length - linesBefore === 3)
  expect(lines().at(-1)).toMatchObject({ limit: 'ip:127.0.0.1:public_read', level: 40 })
  await only({ public_read: { max: 2, mode: 'off' } })
  for (let number = 0; number < 5; number += 1) {
    const response = await read(turn(number))
    expect([outcomeOf(response), remaining(response)]).toEqual(['200', undefined])
  }
  expect((await counted()) - before).toBe(3)
})

test('a refusal is a warning in the log, with its scope, user and address and without the token', async () => {
  await only({ pricing_quote: { max: 1 } })
  const userId = await makeUser(limited.database.owner)
  const token = await one.tokenFor(userId)
  for (let number = 0; number < 2; number += 1) await one.call(`{ ${quotes(1)} }`, { token })
  const find = () =>
    limited.log.lines.find(({ msg, user }) => msg === 'refused by a rate limit' && user === userId)
  await until('it is logged', () => find() !== undefined)
  expect(find()).toMatchObject({ level: 40, scope: 'pricing_quote', address: '127.0.0.1' })
  expect(limited.log.text()).not.toContain(token)
  const text = await (await fetch(`${one.url}/metrics`)).text()
  expect(text).not.toMatch(new RegExp(`${userId}|127\\.0\\.0\\.1`))
})

const setFields = (fields: string) =>
  limited.database.owner.query(
    "update app_public.rate_limit_policies set fields = $1 where scope = 'pricing_quote'",
    [fields],
  )

test('a policy that names an unknown field fails the start, and a running server keeps the last valid policies', async () => {
  await only({ pricing_quote: { max: 40 } })
  const faults = await metric(one, 'rate_limit_config_errors_total')
  try {
    await setFields('{Query.quoteListings}')
    await expect(startServer(limited.database)).rejects.toThrow(/Query\.quoteListings/)
    await until(
      'the fault is counted',
      async () => (await metric(one, 'rate_limit_config_errors_total')) > faults,
    )
    expect(remaining(await one.call(`{ ${quotes(3)} }`))).toBe(37)
  } finally {
    await setFields('{Query.quoteListing}')
  }
})

test('a running server follows the limits of a newer release, although it does not have their fields', async () => {
  await only({ pricing_quote: { max: 40 } })
  const faults = await metric(one, 'rate_limit_config_errors_total')
  const { owner } = limited.database
  await owner.query(
    "insert into graphile_migrate.migrations (hash, filename) values ('sha1:x', '999999-x.sql')",
  )
  try {
    await setFields('{Query.quoteListing,Query.quoteListings}')
    await owner.query(
      "update app_public.rate_limit_policies set max_count = 30 where scope = 'pricing_quote'",
    )
    await until('the limit is in force', async () => limitOf(await one.call(`{ ${quotes(1)} }`)) === 30)
    expect(await metric(one, 'rate_limit_config_errors_total')).toBe(faults)
  } finally {
    await setFields('{Query.quoteListing}')
    await owner.query("delete from graphile_migrate.migrations where hash = 'sha1:x'")
  }
})

test('even the owner cannot delete or rename a policy: a limit ends by its mode', async () => {
  const { owner } = limited.database
  for (const sql of [
    "delete from app_public.rate_limit_policies where scope = 'public_read'",
    'delete from app_public.rate_limit_policies where false',
    'truncate app_public.rate_limit_policies',
    "update app_public.rate_limit_policies set scope = 'other' where scope = 'public_read'",
  ]) {
    const hint = expect.stringContaining("mode = 'off'")
    await expect(owner.query(sql)).rejects.toMatchObject({ code: '55000', hint })
  }
})

test('only an admin reads the policies in GraphQL', async () => {
  await only({})
  const query =
    '{ rateLimitPolicies(first: 100) { nodes { scope maxCount windowSeconds mode fields } totalCount } }'
  type Policies = { rateLimitPolicies: { nodes: { scope: string }[]; totalCount: number } }
  const { data } = await one.call<Policies>(query, { token: await makeAdmin(limited.database, one) })
  expect(data.rateLimitPolicies.nodes.map(({ scope }) => scope).sort()).toEqual([
    'account_change',
    'auth_account',
    'auth_login',
    'auth_mail',
    'auth_recovery',
    'auth_refresh',
    'auth_register',
    'checkout_init',
    'data_export',
    'listing_batch',
    'listing_create',
    'listing_write',
    'member_invite',
    'pricing_quote',
    'public_read',
    'user_read',
  ])
  const dealer = await one.tokenFor(await makeUser(limited.database.owner))
  expect([outcomeOf(await one.call(query)), outcomeOf(await one.call(query, { token: dealer }))]).toEqual([
    '401 unauthenticated',
    '403 forbidden',
  ])
})
