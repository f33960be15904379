/**
 * Each role calls exactly the root fields, and reads exactly the fields of the dealer's rows, that `accessMatrix.ts` lists. Tried by
 * doing it, for every field of the schema; a field that is not listed fails. `test/rules/access.test.ts` does the same for SQL.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type GraphQLField, type GraphQLObjectType, getNamedType, isLeafType, isObjectType } from 'graphql'
import { makeApiKey } from '../support/apiKeys.ts'
import { startServer } from '../support/apiServer.ts'
import { cloneDatabase } from '../support/database.ts'
import { buyPackage, payInvoice } from '../support/graphqlOperations.ts'
import { makeListing } from '../support/listings.ts'
import { makePerson, mutate } from '../support/members.ts'
import { promote, sellPromotions } from '../support/promotions.ts'
import { makeMisconfiguredSeller, makeSeller, makeSellerIn } from '../support/seller.ts'
import { makeAdminUser, makeCountry, makeDealer, makePackage, makeSubscription } from '../support/testData.ts'
import { named, namesFor, ROLES, ROOTS, type Role, TYPES } from './accessMatrix.ts'
import { prepareSample, rootFields, type SampleWorld, schema } from './samples.ts'

const objectTypes = Object.values(schema.getTypeMap()).filter(
  (type): type is GraphQLObjectType => isObjectType(type) && !type.name.startsWith('__'),
)
/** The types that lead to rows, without fields of their own. */
const CONNECTING = /^(Query|Mutation|PageInfo)$|(Connection|Edge|Payload)$/

/** Codes of a caller who may not, or is not the user concerned. */
const REFUSALS = ['unauthenticated', 'forbidden', 'not_found', 'invalid_credentials']

let world: SampleWorld
let tokens: Record<Role, string | undefined>
let ids: Record<string, string>
/** Staff and owner join the dealers that samples have made. */
let join: () => Promise<unknown>

beforeAll(async () => {
  const database = await cloneDatabase()
  const db = database.owner
  const server = await startServer(database)
  await db.query("update app_public.rate_limit_policies set mode = 'off'")
  await makeCountry(db)
  await makeMisconfiguredSeller(database, server, 'no price')
  const seller = await makeSeller(database, server)
  const stranger = await makeSellerIn(database, server, seller.country)
  const [staff, owner] = [await makePerson(database, server), await makePerson(database, server)]
  const adminId = await makeAdminUser(db)
  await makeDealer(db, adminId, seller.country)
  const admin = await server.tokenFor(adminId, 'admin')
  tokens = { visitor: undefined, staff: staff.token, owner: owner.token, stranger: stranger.token, admin }
  world = { database, server, seller, admin }
  join = () =>
    db.query(
      `insert into app_public.dealer_users (dealer_id, user_id, role)
       select d.id, m.user_id, m.role from app_public.dealers as d, (values ($1::uuid, 'staff'::app_public.dealer_role), ($2, 'owner'))
         as m (user_id, role)
       where d.id <> $3 on conflict do nothing`,
      [staff.userId, owner.userId, stranger.dealerId],
    )
  const { dealerId, country, token } = seller
  await sellPromotions(db, country)
  await makeListing(db, seller)
  const listing = await makeListing(db, seller, 'ACTIVE')
  await makeApiKey(server, token, dealerId)
  await promote(server, token, { listingId: listing })
  const packageId = await makePackage(db, { country })
  await makeSubscription(db, dealerId, { packageId })
  const { data } = await buyPackage(server, token, { dealerId, packageId })
  await mutate(server, 'inviteMember', { dealerId, email: 'guest@example.com', role: 'STAFF' }, token)
  const checkout = data.buyPackage?.checkout.invoice.id as string
  await payInvoice(server, admin, checkout)
  ids = { dealer: dealerId, country, listing, package: packageId, checkout }
  await join()
})

afterAll(async () => {
  await world.server.stop()
  await world.database.drop()
})

const callAs = (role: Role) => (tokens[role] === undefined ? {} : { token: tokens[role] })

test('every field of the schema is listed once', () => {
  expect(
    named(ROOTS)
      .map(([name]) => name)
      .sort(),
  ).toEqual([...rootFields].sort())
  const fieldsOf = (type: GraphQLObjectType) => Object.keys(type.getFields()).sort()
  const rowTypes = objectTypes.filter(({ name }) => !CONNECTING.test(name))
  expect(
    Object.fromEntries(
      Object.entries(TYPES).map(([type, access]) => [
        type,
        named(access)
          .map(([name]) => name)
          .sort(),
      ]),
    ),
  ).toEqual(Object.fromEntries(rowTypes.map(type => [type.name, fieldsOf(type)])))
  for (const type of objectTypes) {
    if (type.name.endsWith('Connection'))
      expect(fieldsOf(type)).toEqual(['edges', 'nodes', 'pageInfo', 'totalCount'])
    if (type.name.endsWith('Edge')) expect(fieldsOf(type)).toEqual(['cursor', 'node'])
  }
})

test('the types without a way are returned by mutations alone', () => {
  const reached = new Set<string>()
  const follow = (type: unknown): void => {
    if (!isObjectType(type) || reached.has(type.name)) return
    reached.add(type.name)
    for (const field of Object.values(type.getFields())) follow(getNamedType(field.type))
  }
  follow(schema.getQueryType())
  for (const [name, { way }] of Object.entries(TYPES))
    expect([name, reached.has(name)]).toEqual([name, way !== undefined])
})

/** The field with enough of its object that a hidden one is null, or of its rows that hidden ones are missing. */
function selected({ name, type }: GraphQLField<unknown, unknown>): string {
  const object = getNamedType(type)
  if (!isObjectType(object)) return name
  const { nodes } = object.getFields()
  const row = nodes === undefined ? object : (getNamedType(nodes.type) as GraphQLObjectType)
  const leaf = Object.values(row.getFields()).find(field => isLeafType(getNamedType(field.type)))?.name
  return nodes === undefined ? `${name} { ${leaf} }` : `${name} { nodes { ${leaf} } }`
}

/** Reads fields of a row of the seller: its object, or null if there is no row; undefined if the caller is refused. */
async function read(
  role: Role,
  way: string,
  selection: string,
): Promise<Record<string, unknown> | null | undefined> {
  const steps = way.replaceAll(/\$(\w+)/g, (_, name: string) => `"${ids[name]}"`).split(' > ')
  const query = `{ ${steps.join(' { ')} { ${selection} }${' }'.repeat(steps.length)}`
  const { data, errors } = await world.server.call<unknown>(query, callAs(role))
  const [error] = errors
  if (error !== undefined) {
    expect([query, REFUSALS]).toEqual([query, expect.arrayContaining([error.extensions.code])])
    return undefined
  }
  let found: unknown = data
  for (const step of steps) {
    found = (found as Record<string, unknown> | null)?.[/^\w+/.exec(step)?.[0] ?? '']
    if (Array.isArray(found)) found = found[0]
  }
  return (found ?? null) as Record<string, unknown> | null
}

/** Whether a value of a field shows that the caller may read it. The rows of a relation exist. */
function shows(
  field: GraphQLField<unknown, unknown>,
  row: Record<string, unknown> | null | undefined,
): boolean {
  if (row == null) return false
  const value = row[field.name] as { nodes?: unknown[] } | null
  return !isObjectType(getNamedType(field.type)) || (value !== null && value.nodes?.length !== 0)
}

test.each(ROLES)('a role reads the fields that are listed, and no others: %s', async role => {
  for (const type of objectTypes) {
    const { way, ...access } = TYPES[type.name] ?? {}
    if (way === undefined) continue
    const mayRead = namesFor(access, role)
    const fields = Object.values(type.getFields())
    const may = fields.filter(({ name }) => mayRead.includes(name))
    const row = may.length > 0 ? await read(role, way, may.map(selected).join(' ')) : null
    const shown: string[] = may.filter(field => shows(field, row)).map(({ name }) => name)
    for (const field of fields.filter(one => !may.includes(one)))
      if (shows(field, await read(role, way, selected(field)))) shown.push(field.name)
    expect([type.name, shown.sort()]).toEqual([type.name, mayRead.sort()])
  }
})

test.each(rootFields)('the roles that are listed call %s, and no others', async name => {
  const called: Role[] = []
  const send = async () => {
    const prepared = await prepareSample(world, name)
    await join()
    return prepared
  }
  let sample = await send()
  if (ROOTS.oneUser?.split(' ').includes(name)) expect((await sample()).errors).toEqual([])
  for (const role of ROLES) {
    const [error] = (await sample(callAs(role))).errors
    if (error === undefined) {
      called.push(role)
      sample = await send()
    } else expect(REFUSALS).toContain(error.extensions.code)
  }
  expect(called).toEqual(ROLES.filter(role => namesFor(ROOTS, role).includes(name)))
})
