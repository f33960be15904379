/**
 * Scalars that refuse a malformed value as an error of the document (400), and times that are always UTC.
 *
 * PostGraphile's own scalars, except UUID, accept any text. Then `"abc"` as an amount, `NaN` as a price or `now` as a time
 * would reach Postgres.
 */
import { Kind, type ValueNode } from 'grafast/graphql'

interface StringScalar {
  readonly pattern: RegExp
  readonly example: string
}

const stringScalars: Readonly<Record<string, StringScalar>> = {
  UUID: {
    pattern: /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
    example: '0197f0d2-6a9e-7cc1-b3b4-5f1c3f1b2a10',
  },
  BigFloat: { pattern: /^-?\d{1,30}(\.\d{1,30})?$/, example: '5.00' },
  BigInt: { pattern: /^-?\d{1,19}$/, example: '42' },
  Date: { pattern: /^\d{4}-\d{2}-\d{2}$/, example: '2026-01-31' },
  Datetime: {
    pattern: /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})$/,
    example: '2026-01-31T12:00:00Z',
  },
}

/** Levels of a JSON value. A deeper value could overflow the stack. */
const MAX_JSON_DEPTH = 20

/** Replaces the parsing of UUID, BigFloat, BigInt, Date, Datetime and JSON, and the output of Datetime. */
export const ScalarsPlugin: GraphileConfig.Plugin = {
  name: 'ScalarsPlugin',
  version: '1.0.0',
  schema: {
    hooks: {
      GraphQLScalarType(config, { inflection }) {
        for (const [name, scalar] of Object.entries(stringScalars)) {
          if (config.name !== inflection.builtin(name)) continue
          const parse = (value: unknown) => parseString(name, scalar, value)
          config.parseValue = parse
          config.parseLiteral = (node: ValueNode) => parse(node.kind === Kind.STRING ? node.value : undefined)
        }
        if (config.name === inflection.builtin('Datetime')) config.serialize = utc
        if (config.name === inflection.builtin('JSON')) {
          const { parseLiteral } = config
          config.parseValue = assertShallow
          config.parseLiteral = (node, variables) => assertShallow(parseLiteral?.(node, variables))
        }
        return config
      },
    },
  },
}

function parseString(name: string, { pattern, example }: StringScalar, value: unknown): string {
  const isDate = name.startsWith('Date')
  if (typeof value !== 'string' || !pattern.test(value) || (isDate && !isCalendarDay(value))) {
    throw new TypeError(`Send a string such as "${example}".`)
  }
  return value
}

/** JavaScript's `Date` accepts 31 February as 3 March; Postgres refuses it. */
function isCalendarDay(value: string): boolean {
  const day = value.slice(0, 10)
  const date = new Date(`${day}T00:00:00Z`)
  return (
    !Number.isNaN(Date.parse(value)) && !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day)
  )
}

/** Every session runs in UTC (see `pgSettings`), so the offset of a time is +00:00. It is written as the usual Z. */
function utc(value: unknown): string {
  return String(value).replace(/\+00(:00)?$/, 'Z')
}

function assertShallow(value: unknown): unknown {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MAX_JSON_DEPTH) throw new TypeError(`JSON may nest ${MAX_JSON_DEPTH} levels at most.`)
    level = level.flatMap(item => (typeof item === 'object' && item !== null ? Object.values(item) : []))
  }
  return value
}
