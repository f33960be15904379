/** The connections of schema.graphql: how to read a page of each, and the orders that it offers. */
import { readFile } from 'node:fs/promises'
import {
  buildSchema,
  type GraphQLField,
  type GraphQLObjectType,
  getNamedType,
  isEnumType,
  isLeafType,
  isNonNullType,
  isObjectType,
} from 'graphql'

/** The columns that tell the rows of a type apart, best first. */
const KEYS = ['id', 'key', 'scope', 'listingId', 'userId']
/** Orders that name no column. */
const WHOLE = ['NATURAL', 'PRIMARY_KEY', 'PREMIUM_FIRST']

export type Connection = {
  /** As `Query.invoices` or `Invoice.items`. */
  name: string
  field: string
  /** The field of Query with the rows, or the one row, that the connection belongs to; absent if it is a field of Query itself. */
  parent?: string
  orderType: string
  /** The values of `orderBy`. */
  orders: string[]
  key: string
  /** The columns that `orders` name. */
  columns: { name: string; isNullable: boolean }[]
}

const schema = buildSchema(await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8'))
const query = schema.getQueryType() as GraphQLObjectType
const roots = connectionFields(query)
const user = schema.getType('User') as GraphQLObjectType

/** All connections. Throws if this file does not know how to read one. */
export const connections: Connection[] = [
  ...roots.map(field => describe(query, field)),
  ...roots.flatMap(root => {
    const type = nodeType(root)
    return connectionFields(type).map(field => ({ ...describe(type, field), parent: root.name }))
  }),
  ...connectionFields(user).map(field => ({ ...describe(user, field), parent: 'currentUser' })),
]

/** The names of all fields that give a connection, wherever they are. */
export const connectionNames: string[] = Object.values(schema.getTypeMap())
  .filter(isObjectType)
  .flatMap(type => connectionFields(type).map(({ name }) => `${type.name}.${name}`))

function describe(owner: GraphQLObjectType, field: GraphQLField<unknown, unknown>): Connection {
  const order = getNamedType(field.args.find(({ name }) => name === 'orderBy')?.type)
  if (!isEnumType(order)) throw new Error(`${field.name} has no orderBy`)
  const orders = order.getValues().map(({ name }) => name)
  const fields = nodeType(field).getFields()
  const key = KEYS.find(name => name in fields)
  if (key === undefined) throw new Error(`Please name the key of ${field.name} in KEYS.`)
  const named = orders.map(name => name.replace(/_(ASC|DESC)$/, '')).filter(name => !WHOLE.includes(name))
  const columns = [...new Set(named)].map(constant => {
    const name = constant.toLowerCase().replace(/_(\w)/g, (_all, letter: string) => letter.toUpperCase())
    const type = fields[name]?.type
    if (!isLeafType(getNamedType(type)))
      throw new Error(`${field.name} orders by ${name}, which it does not show`)
    return { name, isNullable: !isNonNullType(type) }
  })
  return {
    name: `${owner.name}.${field.name}`,
    field: field.name,
    orderType: order.name,
    orders,
    key,
    columns,
  }
}

function connectionFields(type: GraphQLObjectType): GraphQLField<unknown, unknown>[] {
  return Object.values(type.getFields()).filter(field => getNamedType(field.type).name.endsWith('Connection'))
}

function nodeType(connection: GraphQLField<unknown, unknown>): GraphQLObjectType {
  const type = getNamedType(connection.type)
  const node = isObjectType(type) ? getNamedType(type.getFields().nodes?.type) : undefined
  if (!isObjectType(node)) throw new Error(`${connection.name} has no nodes`)
  return node
}
