/** Which requests share a counter: no client gets a counter of its own by sending another header or token. */
import { createHmac, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { SignJWT, UnsecuredJWT } from 'jose'
import { type ApiResponse, startServer, type TestServer, tokenKey } from '../support/apiServer.ts'
import {
  behindProxy,
  EXACT_COUNTING,
  type Limited,
  onlyLimits,
  outcomeOf,
  quotes,
  refusedBy,
  remaining,
  startLimited,
} from '../support/limits.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeUser } from '../support/testData.ts'

/** On one database: a server that trusts no proxy, two that trust one, and one that trusts a chain of proxies. */
let limited: Limited
let direct: TestServer
let proxied: TestServer
let alsoProxied: TestServer
let chained: TestServer

beforeAll(async () => {
  limited = await startLimited(behindProxy)
  const { database, servers } = limited
  ;[proxied, alsoProxied] = servers
  direct = await startServer(database, EXACT_COUNTING)
  chained = await startServer(database, { ...EXACT_COUNTING, TRUST_PROXY: '127.0.0.1, 10.0.0.0/8' })
})

beforeEach(() => {
  const { database, servers } = limited
  return onlyLimits({ database, servers: [...servers, direct, chained] }, { pricing_quote: { max: 10 } })
})

afterAll(async () => {
  await direct.stop()
  await chained.stop()
  await limited.stop()
})

type Headers = Record<string, string>

async function left(server: TestServer, headers: Headers = {}, token?: string): Promise<number | undefined> {
  const options = token === undefined ? { headers } : { headers, token }
  return remaining(await server.call(`{ ${quotes(1)} }`, options))
}

/** `X-RateLimit-Remaining` after each request. The requests are sent one after another, to the servers in turn. */
async function leftAfter(all: Headers[], servers = [proxied, alsoProxied]): Promise<unknown[]> {
  const found: unknown[] = []
  for (const [index, headers] of all.entries())
    found.push(await left(servers[index % servers.length] as TestServer, headers))
  return found
}

const from = (address: string) => ({ 'x-forwarded-for': address })
const oneCounter = (times: number) => Array.from({ length: times }, (_, index) => 9 - index)

test.each<[string, (address: string) => Headers]>([
  ['X-Forwarded-For', from],
  ['Forwarded', address => ({ forwarded: `for=${address}` })],
  ['X-Real-IP', address => ({ 'x-real-ip': address })],
  [
    'X-Client-IP',
    address => ({ 'x-client-ip': address, 'cf-connecting-ip': address, 'true-client-ip': address }),
  ],
])('a client that rotates %s keeps its counter', async (_, headers) => {
  const all = Array.from({ length: 10 }, (_, index) => headers(`198.51.100.${index}`))
  expect(await leftAfter(all, [direct])).toEqual(oneCounter(10))
  const last = await direct.call(`{ ${quotes(1)} }`, { headers: headers('198.51.100.99') })
  expect([outcomeOf(last), refusedBy(last)]).toEqual(['429 rate_limit_exceeded', 'pricing_quote'])
  expect(last.errors[0]?.extensions.meta).toMatchObject({ limit_key: 'ip:127.0.0.1:pricing_quote' })
})

test('each address that a trusted proxy names has its own counter, on both servers', async () => {
  const all = ['198.51.100.1', '198.51.100.1', '198.51.100.2', '198.51.100.2', '198.51.100.1'].map(from)
  expect(await leftAfter(all)).toEqual([9, 8, 9, 8, 7])
})

test.each(['Forwarded', 'X-Real-IP', 'X-Client-IP'])(
  'a client that rotates %s behind a trusted proxy keeps its counter',
  async name => {
    const all = Array.from({ length: 4 }, (_, index) => ({
      ...from('198.51.100.1'),
      [name]: name === 'Forwarded' ? `for=203.0.113.${index}` : `203.0.113.${index}`,
    }))
    expect(await leftAfter(all)).toEqual(oneCounter(4))
  },
)

test('entries of X-Forwarded-For before the entry of the proxy are ignored', async () => {
  const entries = [
    '203.0.113.1, ',
    '203.0.113.2,',
    '127.0.0.1, ',
    'unknown, ',
    ', ',
    '::1, 127.0.0.1, ',
    'x"y, ',
  ]
  const all = entries.map(entry => from(`${entry}198.51.100.1`))
  expect(await leftAfter(all)).toEqual(oneCounter(7))
})

test('behind a chain of trusted proxies, the last untrusted address counts', async () => {
  const all = ['198.51.100.1, 10.1.2.3', '203.0.113.9, 198.51.100.1, 10.9.9.9', '198.51.100.1'].map(from)
  expect(await leftAfter(all, [chained])).toEqual([9, 8, 7])
})

test('the addresses of one IPv6 /56 share a counter, and the next /56 has another', async () => {
  const all = [
    '2001:db8:1:100::1',
    '2001:db8:1:1ff:ffff:ffff:ffff:ffff',
    '2001:0DB8:0001:0142::2',
    '2001:db8:1:100:0:0:198.51.100.7',
  ].map(from)
  expect(await leftAfter(all)).toEqual(oneCounter(4))
  expect(await leftAfter(['2001:db8:1:200::1', '2001:db8:1:0ff::1'].map(from))).toEqual([9, 9])
})

test('an IPv4 address and its ::ffff: form share a counter, and another address has another', async () => {
  const all = ['198.51.100.1', '::ffff:198.51.100.1', '::FFFF:c633:6401', '0:0:0:0:0:ffff:198.51.100.1'].map(
    from,
  )
  expect(await leftAfter(all)).toEqual(oneCounter(4))
  expect(await leftAfter(['::ffff:198.51.100.2', '::ffff:c633:6403'].map(from))).toEqual([9, 9])
})

/** Entries that a proxy writes into X-Forwarded-For, each with the address under which the client is counted. */
const entries: Record<string, string> = {
  '203.0.113.7': '203.0.113.7',
  '203.0.113.7:51234': '203.0.113.7',
  ' 203.0.113.7:1 ': '203.0.113.7',
  '::ffff:203.0.113.7': '203.0.113.7',
  '::FFFF:cb00:7107': '203.0.113.7',
  '[::ffff:203.0.113.7]:443': '203.0.113.7',
  '[2001:db8:1:1ff::7]:443': '2001:db8:1:100::/56',
  '[2001:DB8:1:100::7]': '2001:db8:1:100::/56',
  '2001:db8:1:100::7%eth0': '2001:db8:1:100::/56',
  '[2001:db8:1:100::7%eth0]:443': '2001:db8:1:100::/56',
  unknown: '127.0.0.1',
  _hidden: '127.0.0.1',
  '': '127.0.0.1',
  '203.0.113': '127.0.0.1',
  '203.0.113.7.example.com': '127.0.0.1',
  '203.0.113.256': '127.0.0.1',
  '0xcb.0.113.7': '127.0.0.1',
  '203.0.113.7/24': '127.0.0.1',
  '[203.0.113.7]:443': '127.0.0.1',
  '203.0.113.7:51234:1': '127.0.0.1',
}

test.each(Object.entries(entries))('a request from "%s" is counted under %s', async (entry, counted) => {
  // more than passes at once, so that the refusal names the counter
  const response = await proxied.call(`{ ${quotes(11)} }`, { headers: from(entry) })
  expect([outcomeOf(response), response.errors[0]?.extensions.meta]).toEqual([
    '429 rate_limit_exceeded',
    expect.objectContaining({ limit_key: `ip:${counted}:pricing_quote` }),
  ])
})

const now = () => Math.floor(Date.now() / 1000)
const claims = (sub: string, changes = {}) => ({
  sub,
  role: 'dealer',
  iss: 'forecourt',
  aud: 'forecourt',
  iat: now(),
  exp: now() + 600,
  ...changes,
})
const sign = (payload: object, key: Uint8Array = tokenKey) =>
  new SignJWT({ ...payload }).setProtectedHeader({ alg: 'HS256' }).sign(key)

/** Tokens that do not verify, by their fault. */
const bad: Record<string, (userId: string) => string | Promise<string>> = {
  forged: userId => sign(claims(userId), Buffer.from('x'.repeat(40))),
  expired: userId => sign(claims(userId, { exp: now() - 1 })),
  'wrong audience': userId => sign(claims(userId, { aud: 'elsewhere' })),
  'alg none': userId => new UnsecuredJWT(claims(userId)).encode(),
  'alg none with a signature': userId => {
    const parts = [{ alg: 'none' }, claims(userId)]
      .map(part => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
    return `${parts}.${createHmac('sha256', tokenKey).update(parts).digest('base64url')}`
  },
  garbage: () => randomUUID(),
}

test.each(Object.entries(bad))(
  'a request with a token that is %s counts on its address, never on the subject of the token',
  async (_, make) => {
    const userId = await makeUser(limited.database.owner)
    const responses: ApiResponse<unknown>[] = []
    for (let number = 0; number < 11; number += 1) {
      const token = await make(number % 2 ? userId : randomUUID())
      responses.push(await (number % 2 ? proxied : alsoProxied).call(`{ ${quotes(1)} }`, { token }))
    }
    expect(responses.map(outcomeOf)).toEqual([
      ...Array.from({ length: 10 }, () => '401 unauthenticated'),
      '429 rate_limit_exceeded',
    ])
    expect(responses.map(remaining)).toEqual([...oneCounter(10), 0])
    expect(responses[10]?.errors[0]?.extensions.meta).toMatchObject({
      limit_key: 'ip:127.0.0.1:pricing_quote',
    })
    expect(await left(proxied, {}, await proxied.tokenFor(userId))).toBe(9)
  },
)

test('a user keeps one counter across addresses and tokens', async () => {
  const userId = await makeUser(limited.database.owner)
  const found: unknown[] = []
  for (let number = 0; number < 6; number += 1) {
    const token = await proxied.tokenFor(userId, number % 2 ? 'dealer' : 'admin')
    found.push(await left(number % 2 ? proxied : alsoProxied, from(`198.51.100.${number}`), token))
  }
  expect(found).toEqual(oneCounter(6))
  const stranger = await proxied.tokenFor(await makeUser(limited.database.owner))
  expect(await left(proxied, from('198.51.100.1'), stranger)).toBe(9)
  expect(await left(proxied, from('198.51.100.1'))).toBe(9)
})

test('a TRUST_PROXY that trusts every client is refused at start', async () => {
  const log = recordLog()
  for (const value of ['true', '1', '*', 'loopback']) {
    await expect(startServer(limited.database, { TRUST_PROXY: value }, log.log)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: expect.stringContaining(`"${value}"`),
    })
  }
})
