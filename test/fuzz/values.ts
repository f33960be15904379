/** Values of every scalar: valid ones, edge cases and invalid ones. */
import fc from 'fast-check'
import { type GraphQLInputType, isEnumType, isInputObjectType, isListType, isNonNullType } from 'graphql'

const NIL = '00000000-0000-0000-0000-000000000000'

const TEXTS = [
  ...[
    '',
    ' ',
    '\u0000',
    'a\u0000b',
    '\n',
    '\r\n',
    'a\nb',
    '\u0085',
    '\u2028',
    '\u200d',
    '\u202e',
    '\ufeff',
    '\ufffe',
  ],
  ...[
    '\ud800',
    '\udc00x',
    'é',
    'e\u0301',
    'İ',
    'ß',
    '𝔄',
    '👩‍👩‍👧',
    '%s%n',
    '\\',
    '\\u0000',
    "';--",
    '$1',
    '{}',
    '[]',
  ],
  ...[
    'null',
    'true',
    'NaN',
    'Infinity',
    '-0',
    '1e400',
    '__proto__',
    'constructor',
    'toString',
    'DE',
    'ZZ',
    'EUR',
    'auto',
  ],
  ...[
    'a@example.com',
    ' A@EXAMPLE.COM ',
    'victim@example.com\n198.51.100.7',
    '@',
    'a@b',
    'http://x',
    'javascript:x',
  ],
  ...['x'.repeat(255), 'x'.repeat(10_000), 'é'.repeat(5_000)],
]
/** Characters that make a text another one without a trace: decomposed, invisible, bidirectional, control, not storable. */
const TRICKS = [
  ...['e\u0301', 'J\u030c', '\u1112\u1161\u11ab', '\u212b', 'ﬁ', 'İ', 'ẞ', 'ς', 'Ａ', '\u0378'],
  ...[
    '\u00a0',
    '\u00ad',
    '\u034f',
    '\u200b',
    '\u200d',
    '\u2060',
    '\u2800',
    '\u3000',
    '\u3164',
    '\ufe0f',
    '\ufeff',
  ],
  ...['\u061c', '\u200e', '\u200f', '\u202a', '\u202e', '\u2066', '\u2069', 'א', 'ع'],
  ...['\0', '\u0001', '\t', '\n', '\r\n', '\u007f', '\u0085', '\u2028', '\ud800', '\udfff', '\udc00\ud800'],
  ...['\ufdd0', '\ufffe', '\uffff', '\ufffd', '\u{e0001}', '\u{1ffff}', '\u{10ffff}', '\ue000'],
  ...['@', '.', '..', '。', '%00', '%2e', '/', ':', '[::1]', 'xn--', 'xn--a', '-', '"', '(', '\\'],
]
const BASES = [
  '',
  'A car',
  'jane@example.com',
  'Jane@Bücher.de',
  'https://example.com/1.jpg',
  'correct horse battery',
  'EUR',
]
const tricky = fc
  .tuple(
    fc.constantFrom(...BASES),
    fc.array(fc.tuple(fc.constantFrom(...TRICKS), fc.nat()), { minLength: 1, maxLength: 3 }),
  )
  .map(([base, tricks]) =>
    tricks.reduce((text, [trick, at]) => {
      const index = at % (text.length + 1)
      return text.slice(0, index) + trick + text.slice(index)
    }, base),
  )
const text = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...TEXTS) },
  { weight: 4, arbitrary: tricky },
  { weight: 2, arbitrary: fc.string({ unit: 'binary' }) },
  { weight: 1, arbitrary: fc.string() },
)
const integer = fc.oneof(
  fc.constantFrom(0, -1, 1, 100, 101, 2 ** 31 - 1, -(2 ** 31), 2 ** 31, 1e21, 1.5, Number.MAX_VALUE),
  fc.integer(),
)
const NUMBERS = [
  ...[
    '5.00',
    '0',
    '-0',
    '-1',
    '0.005',
    '1e5',
    'NaN',
    'Infinity',
    '.5',
    '5.',
    '+5',
    ' 5',
    '0x10',
    '',
    '1_000',
  ],
  ...['9'.repeat(30), `0.${'9'.repeat(30)}`, `${'9'.repeat(30)}.${'9'.repeat(30)}`, '9223372036854775808'],
]
const TIMES = [
  ...[
    '2026-01-31T12:00:00Z',
    '0001-01-01T00:00:00Z',
    '9999-12-31T23:59:59.999999Z',
    '2026-01-01T00:00:00+15:59',
  ],
  ...['9999-12-31T23:59:59-15:59', '0001-01-01T00:00:00+15:59', '0000-01-01T00:00Z', '2026-01-01T24:00:00Z'],
]
const WRONG_TIMES = [
  ...[
    '2026-02-30T00:00:00Z',
    '2026-01-01T23:59:60Z',
    '2026-01-01T00:00:00+23:59',
    '2026-01-01T00:00:00-99:00',
  ],
  ...['now', 'infinity', 'epoch', '', '+275760-09-13T00:00:00.000Z', '-000001-01-01T00:00:00Z'],
]
const DAYS = ['2026-01-31', '2026-02-29', '0000-01-01', '0001-01-01', '9999-12-31', '2026-13-01', 'today', '']
const CURSORS = [
  '',
  '{}',
  'null',
  '[]',
  '[null]',
  '["primary_key_asc",[null]]',
  '["primary_key_asc",["x"]]',
  '["natural",1]',
].map(one => Buffer.from(one).toString('base64'))
const json = fc.oneof(
  fc.jsonValue(),
  tricky.map(one => ({ [one]: [one, { one }] })),
  fc.constantFrom(
    { a: '\u0000' },
    { '\u0000': 1 },
    { a: '\ud800' },
    { '\udfff': ['\ufffe'] },
    { n: 1e308 },
    { n: 9007199254740992 },
    5,
    '',
    null,
  ),
  fc.constantFrom(
    'x'.repeat(20_000),
    { images: [{ a: 'x'.repeat(5_000) }] },
    JSON.parse('{"__proto__": {"a": 1}}'),
  ),
)

/** Values of the wrong kind. */
const wrong = fc.oneof(fc.constantFrom(null, true, 5, 'x', [], {}, [[]], { a: 1 }), fc.jsonValue())

/** Makes the values of an input type, as JSON. */
export type InputValues = (type: GraphQLInputType) => fc.Arbitrary<unknown>

/** `ids`: ids of rows that exist. */
export function makeInputValues(ids: readonly string[]): InputValues {
  const known = new Map<GraphQLInputType, fc.Arbitrary<unknown>>()
  const values: InputValues = type => {
    const found =
      known.get(type) ??
      fc.oneof({ weight: 40, arbitrary: rightValue(type, ids, values) }, { weight: 1, arbitrary: wrong })
    known.set(type, found)
    return found
  }
  return values
}

function rightValue(
  type: GraphQLInputType,
  ids: readonly string[],
  values: InputValues,
): fc.Arbitrary<unknown> {
  if (isNonNullType(type)) return rightValue(type.ofType, ids, values)
  if (isListType(type)) return fc.array(values(type.ofType), { maxLength: 3 })
  if (isEnumType(type)) {
    return mostly(fc.constantFrom(...type.getValues().map(({ name }) => name)), fc.constant('UNKNOWN'))
  }
  if (isInputObjectType(type)) {
    const fields = Object.values(type.getFields())
    const requiredKeys = fields.filter(field => isNonNullType(field.type)).map(({ name }) => name)
    return fc.record(Object.fromEntries(fields.map(({ name, type }) => [name, values(type)])), {
      requiredKeys,
    })
  }
  return scalarValue(type.name, ids)
}

function mostly<Value>(usual: fc.Arbitrary<Value>, rare: fc.Arbitrary<Value>): fc.Arbitrary<Value> {
  return fc.oneof({ weight: 10, arbitrary: usual }, { weight: 1, arbitrary: rare })
}

function scalarValue(name: string, ids: readonly string[]): fc.Arbitrary<unknown> {
  switch (name) {
    case 'Int':
    case 'Float':
      return mostly(fc.integer({ min: 0, max: 100 }), integer)
    case 'Boolean':
      return fc.boolean()
    case 'UUID':
      return mostly(fc.constantFrom(...ids, NIL), fc.oneof(fc.constantFrom('', 'x'), fc.uuid()))
    case 'BigFloat':
    case 'BigInt':
      return mostly(
        fc.constantFrom('5.00', '0', '-1', '0.005', '9900', '9'.repeat(30)),
        fc.oneof(fc.constantFrom(...NUMBERS), fc.double().map(String)),
      )
    case 'Datetime':
      return mostly(fc.constantFrom(...TIMES), fc.constantFrom(...WRONG_TIMES))
    case 'Date':
      return fc.constantFrom(...DAYS)
    case 'Cursor':
      return fc.oneof(fc.constantFrom(...CURSORS), fc.base64String(), text)
    case 'JSON':
      return json
    case 'InternetAddress':
      return fc.oneof(fc.constantFrom('1.2.3.4', '::1', 'x', ''), text)
    default:
      return text
  }
}
