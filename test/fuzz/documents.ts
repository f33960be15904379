/** Documents made from the schema: fields, arguments, variables, aliases, fragments and directives, some of them damaged. */
import fc from 'fast-check'
import {
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  getNamedType,
  isEnumType,
  isObjectType,
  isRequiredArgument,
} from 'graphql'
import { type InputValues, makeInputValues } from './values.ts'

export type Operation = {
  query: string
  variables: Record<string, unknown>
  operationName?: string | undefined
}

type Maker = {
  g: fc.GeneratorValue
  values: InputValues
  variables: Record<string, unknown>
  /** Definitions of variables. */
  definitions: string[]
  fragments: string[]
  aliases: number
}

const DEEPEST = 5
const DIRECTIVES = [' @skip(if: false)', ' @include(if: true)', ' @include(if: false)', ' @skip(if: true)']
const UNKNOWN_DIRECTIVES = [' @deprecated', ' @x', ' @skip']
/** Text that is inserted, or replaces a character, to damage a document. */
const DAMAGE = [
  '',
  '{',
  '}',
  '(',
  ')',
  '"',
  '"""',
  '\\',
  '#',
  '...',
  '@',
  '$',
  '!',
  ':',
  '\u0000',
  '\ufeff',
  '\ud800',
  'é',
  ' ',
  '\\u{110000}',
]

/** Any operation: a query or a mutation of the schema. `ids`: ids of rows that exist. */
export function anyOperation(schema: GraphQLSchema, ids: readonly string[]): fc.Arbitrary<Operation> {
  const values = makeInputValues(ids)
  return fc.gen().map(g => damaged(g, operation(g, schema, values)))
}

function operation(g: fc.GeneratorValue, schema: GraphQLSchema, values: InputValues): Operation {
  const type = pick(g, ['query', 'query', 'query', 'mutation'])
  const root = type === 'query' ? schema.getQueryType() : schema.getMutationType()
  const maker: Maker = { g, values, variables: {}, definitions: [], fragments: [], aliases: 0 }
  const body = root ? selection(maker, root, 0) : '{ __typename }'
  const declared = maker.definitions.length > 0 ? `(${maker.definitions.join(', ')})` : ''
  const name = oneIn(g, 3) ? 'Named' : ''
  const query = [`${type} ${name}${declared} ${body}`, ...maker.fragments].join('\n')
  const operationName = oneIn(g, 20) ? pick(g, ['Named', '', 'Other']) : name || undefined
  return { query, variables: maker.variables, operationName }
}

function selection(maker: Maker, type: GraphQLNamedType, depth: number): string {
  const { g, fragments } = maker
  if (!isObjectType(type)) return ''
  const all = Object.values(type.getFields())
  const fields = depth < DEEPEST ? all : all.filter(field => !isObjectType(getNamedType(field.type)))
  const count = g(fc.nat, { max: depth === 0 ? 1 : 3 }) + 1
  const chosen = Array.from({ length: count }, () => pick(g, [...fields, undefined]))
  const text = chosen.map(field => (field ? selected(maker, field, depth) : '__typename')).join(' ')
  if (oneIn(g, 6)) {
    const name = `F${fragments.length}`
    fragments.push(`fragment ${name} on ${type.name} { ${text} }`)
    return `{ ...${name} ${pick(g, ['', `...${name}`, `... on ${type.name} { __typename }`])} }`
  }
  return `{ ${text} }`
}

function selected(maker: Maker, field: GraphQLField<unknown, unknown>, depth: number): string {
  const { g } = maker
  const given = field.args.filter(arg => isRequiredArgument(arg) || oneIn(g, 4))
  const args = given.map(arg => `${arg.name}: ${argument(maker, arg)}`).join(', ')
  // two fields of one key may not differ in their arguments
  maker.aliases += 1
  const alias = args || oneIn(g, 8) ? `a${oneIn(g, 20) ? 0 : maker.aliases}: ` : ''
  const directive = oneIn(g, 8) ? pick(g, oneIn(g, 8) ? UNKNOWN_DIRECTIVES : DIRECTIVES) : ''
  const below = selection(maker, getNamedType(field.type), depth + 1)
  return `${alias}${field.name}${args && `(${args})`}${directive} ${below}`
}

function argument(maker: Maker, arg: GraphQLArgument): string {
  const { g, values, variables, definitions } = maker
  const value = g(values, arg.type)
  if (!oneIn(g, 3)) {
    const name = `v${definitions.length}`
    definitions.push(`$${name}: ${arg.type}`)
    variables[name] = value
    return `$${name}`
  }
  return literal(value, isEnumType(getNamedType(arg.type)))
}

/** A value as GraphQL writes it. */
function literal(value: unknown, isEnum: boolean): string {
  if (Array.isArray(value)) return `[${value.map(one => literal(one, isEnum)).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([key]) => /^[_A-Za-z]\w*$/.test(key))
    return `{${entries.map(([key, one]) => `${key}: ${literal(one, false)}`).join(', ')}}`
  }
  return isEnum && typeof value === 'string' && /^[A-Z_]+$/.test(value)
    ? value
    : (JSON.stringify(value) ?? 'null')
}

function damaged(g: fc.GeneratorValue, made: Operation): Operation {
  if (!oneIn(g, 10)) return made
  const at = g(fc.nat, { max: made.query.length })
  const removed = g(fc.nat, { max: 2 })
  return { ...made, query: made.query.slice(0, at) + pick(g, DAMAGE) + made.query.slice(at + removed) }
}

function oneIn(g: fc.GeneratorValue, times: number): boolean {
  return g(fc.nat, { max: times - 1 }) === 0
}

function pick<Value>(g: fc.GeneratorValue, values: readonly Value[]): Value {
  return values[g(fc.nat, { max: values.length - 1 })] as Value
}
