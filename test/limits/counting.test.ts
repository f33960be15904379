/** A limited field counts as often as the executed operation selects it, however the request is written or sent. */
import { request as httpRequest } from 'node:http'
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { TestServer } from '../support/apiServer.ts'
import {
  type Limited,
  metric,
  onlyLimits,
  outcomeOf,
  quotes,
  type Raw,
  refusedBy,
  remaining,
  sendRaw,
  startLimited,
} from '../support/limits.ts'
import { makeUser } from '../support/testData.ts'

let limited: Limited
let one: TestServer
let two: TestServer

beforeAll(async () => {
  limited = await startLimited()
  ;[one, two] = limited.servers
})

beforeEach(() => onlyLimits(limited, { pricing_quote: { max: 100 }, auth_login: { max: 20 } }))

afterAll(() => limited.stop())

/** One field with one dealer: two fields under one response key must have the same arguments. */
const QUOTE = 'quoteListing(dealerId: "0190a000-0000-7000-8000-000000000001") { source }'
const LOGIN =
  'login(input: {email: "nobody@example.com", password: "wrong password"}) { session { expiresAt } }'

/** The count of `pricing_quote`, read by one more charge on the other server. */
async function charged(): Promise<number> {
  return 99 - (remaining(await two.call(`{ ${QUOTE} }`)) ?? Number.NaN)
}

test.each<[string, string, number]>([
  ['21 aliases', `{ ${quotes(21)} }`, 21],
  ['a named fragment spread once', `{ ...F } fragment F on Query { ${quotes(7)} }`, 7],
  ['inline fragments', `{ ... { ${quotes(3)} } ... on Query { ${quotes(4, 4)} } }`, 7],
  [
    'fragments within fragments',
    `{ ...A } fragment A on Query { a: ${QUOTE} ...B } fragment B on Query { b: ${QUOTE} ... { c: ${QUOTE} } }`,
    3,
  ],
  [
    'one response key repeated, which runs once',
    `{ a: ${QUOTE} ...F ...F } fragment F on Query { a: ${QUOTE} }`,
    1,
  ],
  [
    'a literal @skip(if: true)',
    `{ __typename a: ${QUOTE} b: ${QUOTE.replace(' {', ' @skip(if: true) {')} }`,
    1,
  ],
  [
    'a literal @include(if: false) on a fragment',
    `{ a: ${QUOTE} ... @include(if: false) { b: ${QUOTE} } }`,
    1,
  ],
  ['a literal @skip(if: false)', `{ a: ${QUOTE.replace(' {', ' @skip(if: false) {')} }`, 1],
])('%s: each field that runs counts once', async (_, query, times) => {
  const response = await one.call(query)
  expect([refusedBy(response), remaining(response)]).toEqual([undefined, 100 - times])
  expect(await charged()).toBe(times)
})

test('of five requests with 21 aliased quotes each, under a limit of 100, the fifth is refused', async () => {
  for (let number = 1; number <= 4; number += 1) {
    expect(refusedBy(await (number % 2 ? one : two).call(`{ ${quotes(21)} }`))).toBeUndefined()
  }
  const fifth = await one.call(`{ ${quotes(21)} }`)
  expect([outcomeOf(fifth), refusedBy(fifth)]).toEqual(['429 rate_limit_exceeded', 'pricing_quote'])
})

test('a document with 21 aliased logins is refused: none runs, and none is charged', async () => {
  const logins = Array.from({ length: 21 }, (_, index) => `l${index}: ${LOGIN}`).join(' ')
  const response = await one.call(`mutation { ${logins} }`)
  expect([outcomeOf(response), response.data]).toEqual(['400 invalid_input', undefined])
  const { rows } = await limited.database.superuser.query('select from app_private.login_failures')
  expect(rows).toEqual([])
  expect(remaining(await two.call(`mutation { ${LOGIN} }`))).toBe(19)
})

test('a document with two aliased logins is refused, and none is charged', async () => {
  const response = await one.call(`mutation { a: ${LOGIN} b: ${LOGIN} }`)
  expect([outcomeOf(response), response.errors[0]?.extensions.detail]).toEqual([
    '400 invalid_input',
    { limit: 'mutationFields', maximum: 1 },
  ])
  expect(remaining(await two.call(`mutation { ${LOGIN} }`))).toBe(19)
})

/** A response takes about 10 ms; visiting each spread would take years. */
const BOMB_MS = 5_000

test('a document with 2^60 fragment spreads is refused without visiting each spread', async () => {
  const levels = Array.from({ length: 60 }, (_, n) => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`)
  const bomb = `{ ...F0 } ${levels.join(' ')} fragment F60 on Query { ${QUOTE} }`
  await one.call('{ __typename }')
  const startedAt = performance.now()
  const response = await one.call(bomb)
  expect(performance.now() - startedAt).toBeLessThan(BOMB_MS)
  expect([outcomeOf(response), refusedBy(response)]).toEqual(['400 invalid_input', undefined])
})

test.each(['@skip(if: $hide)', '@include(if: $show)'])(
  'a field with a variable in %s counts, whatever the value',
  async directive => {
    const variable = directive.includes('hide') ? 'hide' : 'show'
    const query = `query ($${variable}: Boolean!) { __typename a: ${QUOTE.replace(' {', ` ${directive} {`)} }`
    for (const value of [true, false]) await one.call(query, { variables: { [variable]: value } })
    expect(await charged()).toBe(2)
  },
)

test('a login with a variable in @skip counts', async () => {
  const login = LOGIN.replace(' { session', ' @skip(if: $hide) { session')
  const response = await one.call(`mutation ($hide: Boolean!) { __typename ${login} }`, {
    variables: { hide: true },
  })
  expect([response.status, remaining(response)]).toEqual([200, 19])
})

test('of several operations only the one that operationName selects counts', async () => {
  const query = `query Decoy { __typename } query Attack { ${quotes(5)} }`
  const send = (operationName?: unknown) => sendRaw(one, JSON.stringify({ query, operationName }))
  expect(remaining(await send('Attack'))).toBe(95)
  expect(remaining(await send('Decoy'))).toBeUndefined()
  for (const name of [undefined, '', 'attack', 5, ['Attack'], { Attack: 1 }]) {
    expect(outcomeOf(await send(name))).toBe('400 invalid_input')
  }
  expect(await charged()).toBe(5)
})

test('a missing, an empty and a multi-line operationName are different cache keys, so no client can poison the cache', async () => {
  const query = `{\n${QUOTE}\n}`
  const poison = [
    { query, operationName: '' },
    { query: `${QUOTE}\n}`, operationName: '\n{' },
    { query: `${QUOTE}\n}`, operationName: '{' },
    { query: `undefined\n${query}` },
  ]
  for (const body of poison) expect((await sendRaw(one, JSON.stringify(body))).data).toBeUndefined()
  const response = await one.call(query)
  expect([refusedBy(response), remaining(response)]).toEqual([undefined, 99])
})

const login = `mutation { ${LOGIN} }`
const json = JSON.stringify({ query: login })
const utf16 = new Uint8Array(Buffer.from(`\ufeff${json}`, 'utf16le'))
const ways: [string, string | Uint8Array<ArrayBuffer> | undefined, Raw, string][] = [
  ['a JSON array', `[${json},${json}]`, {}, '400 invalid_input'],
  ['JSON within a JSON string', JSON.stringify(json), {}, '400 invalid_input'],
  ['application/graphql', login, { type: 'application/graphql' }, '415 invalid_input'],
  [
    'GET',
    undefined,
    { method: 'GET', path: `/graphql?query=${encodeURIComponent(login)}` },
    '405 invalid_input',
  ],
  [
    'a form',
    `query=${encodeURIComponent(login)}`,
    { type: 'application/x-www-form-urlencoded' },
    '415 invalid_input',
  ],
  ['an unknown charset', json, { type: 'application/json; charset=klingon' }, '415 invalid_input'],
  ['an unknown compression', json, { headers: { 'content-encoding': 'x' } }, '415 invalid_input'],
  [
    'a query in the path as well',
    '{}',
    { path: `/graphql?query=${encodeURIComponent(login)}` },
    '400 invalid_input',
  ],
  ['a path in other letters', json, { path: '/GraphQL' }, '404 not_found'],
  ['a path with a slash', json, { path: '/graphql/' }, '404 not_found'],
]

test.each(ways)('%s runs no login', async (_, body, options, expected) => {
  await limited.database.superuser.query('truncate app_private.login_failures')
  const response = await sendRaw(one, body, options)
  expect([outcomeOf(response), response.data]).toEqual([expected, undefined])
  const { rows } = await limited.database.superuser.query('select from app_private.login_failures')
  expect(rows).toEqual([])
})

test.each<[string, string | Uint8Array<ArrayBuffer>, Raw]>([
  ['UTF-16', utf16, { type: 'application/json; charset=utf-16le' }],
  ['a content type in capitals', json, { type: 'APPLICATION/JSON;CHARSET="UTF-8"' }],
  ['escapes in the key', json.replace('query', '\\u0071uery'), {}],
])('a login in %s counts if it runs', async (_, body, options) => {
  const response = await sendRaw(one, body, options)
  if (response.status < 400 || response.errors[0]?.extensions.code === 'invalid_credentials') {
    expect(remaining(response)).toBe(19)
  } else {
    expect(['400 invalid_input', '415 invalid_input', '429 rate_limit_exceeded']).toContain(
      outcomeOf(response),
    )
  }
})

test('of a JSON key that is given twice, the operation that runs is the one that is charged', async () => {
  const [harmless, attack] = [JSON.stringify('{ __typename }'), JSON.stringify(`{ ${quotes(5)} }`)]
  const last = await sendRaw(one, `{"query": ${harmless}, "query": ${attack}}`)
  expect([Object.keys(last.data ?? {}).includes('__typename'), remaining(last)]).toEqual([false, 95])
  const first = await sendRaw(one, `{"query": ${attack}, "query": ${harmless}}`)
  expect([first.data, remaining(first)]).toEqual([{ __typename: 'Query' }, undefined])
})

test('a websocket is not opened', async () => {
  const outcome = await new Promise(resolve => {
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-protocol': 'graphql-transport-ws',
      'sec-websocket-key': Buffer.alloc(16).toString('base64'),
    }
    httpRequest(`${one.url}/graphql`, { headers })
      .on('upgrade', () => resolve('upgraded'))
      .on('response', response => resolve(response.resume().statusCode))
      .on('error', () => resolve('closed'))
      .end()
  })
  expect([405, 400, 426, 'closed']).toContain(outcome)
})

test('a limited field is reachable from the root only: neither by the query of a payload nor by Query.query', async () => {
  for (const query of [
    `{ query { ${QUOTE} } }`,
    `mutation { login(input: {email: "a@example.com", password: "wrong password"}) { query { ${QUOTE} } } }`,
  ]) {
    const response = await one.call(query)
    expect([outcomeOf(response), response.data]).toEqual(['400 invalid_input', undefined])
  }
  expect(await charged()).toBe(0)
})

test('every anonymous request counts as a read, even if it does not parse or has a bad token', async () => {
  await onlyLimits(limited, { public_read: { max: 9 } })
  const bad = { headers: { authorization: 'Bearer a.b.c' } }
  const sent: [string, Raw, string][] = [
    ['{"query": "{ __typename }"}', {}, '200'],
    ['{"query": "{ __typename"}', {}, '400 invalid_input'],
    ['{', {}, '400 invalid_input'],
    ['null', {}, '400 invalid_input'],
    ['[]', {}, '400 invalid_input'],
    [`"${'x'.repeat(1_000_001)}"`, {}, '400 invalid_input'],
    ['{"query": "{ __typename }"}', { type: 'text/plain' }, '415 invalid_input'],
    ['{"query": "{ __typename }"}', bad, '401 unauthenticated'],
    ['{"query": "{ __typename }"}', bad, '401 unauthenticated'],
  ]
  for (const [index, [body, options, expected]] of sent.entries()) {
    const response = await sendRaw(index % 2 ? one : two, body, options)
    expect([index, outcomeOf(response), remaining(response)]).toEqual([index, expected, 8 - index])
  }
  expect(refusedBy(await sendRaw(one, '{', bad))).toBe('public_read')
  const token = await one.tokenFor(await makeUser(limited.database.owner))
  const known = await one.call('{ __typename }', { token })
  expect([outcomeOf(known), remaining(known)]).toEqual(['200', undefined])
  expect(await metric(one, 'rate_limit_unclassified_requests_total{reason="syntax"}')).toBeGreaterThan(0)
})
