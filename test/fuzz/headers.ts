/** Requests whose method, path, headers and encoding are anything that Node lets a client send. */
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import type { Sent } from './client.ts'

/** The characters that HTTP allows in the value of a header. */
const fieldValue = fc.string({
  unit: fc.oneof(
    fc.constantFrom(...',;="\\/*: \t%[]()<>@'),
    fc.integer({ min: 0x21, max: 0x7e }).map(code => String.fromCharCode(code)),
    fc.integer({ min: 0xa0, max: 0xff }).map(code => String.fromCharCode(code)),
  ),
  maxLength: 40,
})

const MEDIA_TYPES = [
  ...[
    'application/json',
    'APPLICATION/JSON',
    'application/graphql-response+json',
    'Application/GraphQL-Response+JSON',
  ],
  ...[
    'application/*',
    '*/*',
    '*',
    'text/html',
    'image/gif',
    'multipart/mixed',
    'application/graphql',
    'text/plain',
  ],
  ...['application/x-www-form-urlencoded', 'multipart/form-data', '', '/', 'application/', '/json', 'a/b/c'],
]
const PARAMETERS = [
  ...['; q=.2', ';q=0', ';q=1.0', ';q=2', ';q=x', ';q=-1', ';q', ';', ';;', '; ', ';q="1"', ';q=', '; Q=0.5'],
  ...[';charset=utf-8', '; charset=UTF-8', ';charset="utf-8"', '; Charset="UTF-8"', ';charset=utf-16le'],
  ...[
    ';charset=latin1',
    ';charset=utf-7',
    ';charset=utf-32',
    ';charset=utf-',
    ';charset="',
    ';charset',
    ';=utf-8',
  ],
  ...[';boundary=x', ';x="a\\"b"', ';x="\\', ';deferSpec=20220824', ';__proto__=1', ';constructor=x'],
]

const mediaType = fc
  .tuple(
    fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...MEDIA_TYPES) }, { weight: 1, arbitrary: fieldValue }),
    fc.array(fc.constantFrom(...PARAMETERS), { maxLength: 2 }),
  )
  .map(([type, parameters]) => type + parameters.join(''))

const accept = fc
  .tuple(fc.array(mediaType, { maxLength: 4 }), fc.constantFrom(', ', ',', ',,', ' ', ' , '))
  .map(([types, separator]) => types.join(separator))

const ADDRESSES = [
  ...[
    '203.0.113.7',
    '203.0.113.7:51234',
    '[2001:db8::1]:443',
    '[2001:db8::1]',
    '2001:db8::1',
    'fe80::1%eth0',
  ],
  ...[
    '::ffff:203.0.113.7',
    '::',
    '::1',
    'unknown',
    '_hidden',
    '256.1.1.1',
    '1.2.3',
    '0x7f.1',
    '1.2.3.4/8',
    '[',
    ']:1',
  ],
]
const address = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...ADDRESSES) },
  { weight: 1, arbitrary: fc.ipV4() },
  { weight: 1, arbitrary: fc.ipV6() },
  { weight: 2, arbitrary: fieldValue },
)
const forwarded = fc.array(address, { maxLength: 3 }).map(list => list.join(', '))

function authorization(tokens: readonly string[]) {
  const scheme = fc.constantFrom(
    'Bearer ',
    'bearer ',
    'Bearer',
    'Bearer  ',
    'Basic ',
    'Digest ',
    '',
    'Bearer\t',
  )
  return fc
    .tuple(scheme, fc.oneof(fc.constantFrom(...tokens, '', 'a.b.c', '..', 'a.b', 'é.é.é'), fieldValue))
    .map(parts => parts.join(''))
}

/** Headers that the server reads, each with plausible values. Content-Encoding is separate, because it depends on the body. */
function header(tokens: readonly string[]) {
  const named = (name: string, value: fc.Arbitrary<string>) => value.map(one => [name, one])
  return fc.oneof(
    { weight: 6, arbitrary: named('Accept', fc.oneof(accept, fieldValue)) },
    { weight: 4, arbitrary: named('Content-Type', fc.oneof(mediaType, fieldValue)) },
    { weight: 4, arbitrary: named('X-Forwarded-For', forwarded) },
    { weight: 4, arbitrary: named('Authorization', authorization(tokens)) },
    named('X-Forwarded-Proto', fieldValue),
    named('X-Forwarded-Host', fieldValue),
    named('Forwarded', fieldValue),
    named('X-Request-Id', fieldValue),
    named('Accept-Encoding', fieldValue),
    named('Accept-Charset', fieldValue),
    named('Accept-Language', fieldValue),
    named('If-None-Match', fieldValue),
    named('If-Modified-Since', fieldValue),
    named('Range', fieldValue),
    named('Origin', fieldValue),
    named('Cookie', fieldValue),
    named('Referer', fieldValue),
    named('X-Http-Method-Override', fc.constantFrom('GET', 'DELETE', '')),
  )
}

const encoders: Record<string, (body: Uint8Array) => Uint8Array> = {
  gzip: gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
}

/** Bodies for a Content-Encoding: encoded correctly, cut off, with one byte changed, or not encoded at all. */
const encoding = fc.record({
  name: fc.constantFrom('gzip', 'GZIP', 'deflate', 'br', 'zstd', 'x-gzip', 'identity', 'gzip, gzip', '', '*'),
  damage: fc.constantFrom('none', 'cut', 'flip', 'plain'),
  at: fc.nat(),
})

function encoded(body: Uint8Array, { name, damage, at }: { name: string; damage: string; at: number }) {
  const bytes = Uint8Array.from(damage === 'plain' ? body : (encoders[name.toLowerCase()]?.(body) ?? body))
  const index = at % Math.max(1, bytes.length)
  if (damage === 'cut') return bytes.subarray(0, index)
  if (damage === 'flip' && bytes.length > 0) bytes[index] = (bytes[index] ?? 0) ^ (1 + (at % 255))
  return bytes
}

const QUERIES = [
  '{ __typename }',
  '{ listings { totalCount nodes { id title } } }',
  'mutation { login(input: {email: "a@example.com", password: "wrong password"}) { session { expiresAt } } }',
  'query A { __typename } query B { currentUser { id } }',
  'query ($first: Int) { listings(first: $first) { totalCount } }',
  '{',
  '',
]
const BODIES = [
  '',
  '{',
  'null',
  '[]',
  '5',
  '"x"',
  '{}',
  '{"query": 5}',
  '{"query": null}',
  '\ufeff{"query":"{ __typename }"}',
]
const parameters = fc.record(
  {
    query: fc.constantFrom(...QUERIES),
    operationName: fc.oneof(fc.constantFrom('A', '', '\n', null), fc.string()),
    variables: fc.oneof(fc.constantFrom({}, { first: 1 }, null, [], 5, 'x'), fc.jsonValue()),
    extensions: fc.oneof(fc.constantFrom({}, null, [], 'x'), fc.jsonValue()),
    onError: fc.constantFrom('NULL', 'HALT', 'x', null),
  },
  { requiredKeys: ['query'] },
)
const bodyText = fc.oneof(
  { weight: 6, arbitrary: parameters.map(value => JSON.stringify(value)) },
  { weight: 2, arbitrary: fc.constantFrom(...BODIES) },
  { weight: 1, arbitrary: fc.json() },
)
const body = fc
  .tuple(bodyText, fc.constantFrom<BufferEncoding>('utf8', 'utf8', 'utf8', 'utf16le', 'latin1'))
  .map(([text, charset]): Uint8Array => Buffer.from(text, charset))

/** The query string of a GET: values are strings, JSON or not, and a name may occur twice. */
const search = fc
  .array(
    fc.oneof(
      fc.constantFrom(...QUERIES).map(query => ['query', query]),
      fc.tuple(
        fc.constantFrom(
          'query',
          'operationName',
          'variables',
          'extensions',
          'id',
          'onError',
          '__proto__',
          'x[y]',
        ),
        fc.oneof(fc.constantFrom('{}', 'null', '{"first": 1}', '[', '""', 'A', ''), fc.json(), fc.string()),
      ),
    ),
    { maxLength: 4 },
  )
  .map(pairs =>
    pairs.map(([name = '', value = '']) => `${name}=${encodeURIComponent(value.toWellFormed())}`).join('&'),
  )

const PATHS = [
  '/graphql/',
  '/GraphQL',
  '/graphql/x',
  '/',
  '/healthz',
  '/readyz',
  '/ruru-static/ruru.js',
  '/ruru-static/..%2f',
  '/%ff',
  '//',
]
const path = fc.oneof(
  { weight: 5, arbitrary: fc.constant('/graphql') },
  { weight: 4, arbitrary: search.map(query => `/graphql?${query}`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '/graphql?%',
      '/graphql?query=%ff',
      '/graphql?&&=',
      '/graphql?query',
      ...PATHS,
    ),
  },
)

/** Any request. `tokens`: access tokens that verify. */
export function anyRequest(tokens: readonly string[]): fc.Arbitrary<Sent> {
  return fc
    .record({
      method: fc.constantFrom(
        'POST',
        'POST',
        'POST',
        'POST',
        'GET',
        'GET',
        'HEAD',
        'PUT',
        'DELETE',
        'OPTIONS',
        'PATCH',
      ),
      path,
      json: fc.boolean(),
      headers: fc.array(header(tokens), { maxLength: 5 }),
      body: fc.option(body, { freq: 8 }),
      encoding: fc.option(encoding, { freq: 1 }),
    })
    .map(({ method, path, json, headers, body, encoding }) => ({
      method,
      path,
      headers: [
        ...(json ? ['Content-Type', 'application/json'] : []),
        ...headers.flat(),
        ...(encoding ? ['Content-Encoding', encoding.name] : []),
      ],
      body: body === null ? undefined : encoding ? encoded(body, encoding) : body,
    }))
}
