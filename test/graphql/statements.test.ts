/** How many SQL statements each operation sends. Each statement costs a round trip, so a new one must be deliberate. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { createListing, startServer } from '../support/apiServer.ts'
import { cloneDatabase } from '../support/database.ts'
import { makeAdmin, makeSeller } from '../support/seller.ts'
import { listenToStatements, type Statements } from '../support/statements.ts'
import { makeCountry, makeSubscription } from '../support/testData.ts'
import { mutations, prepareSample, rootFields, type SampleWorld } from './samples.ts'

/** Everything on the wire counts. The role and the user of the request are the first statement, the operation's SQL the second. */
const USUAL = 2
/** An operation that needs another number has its figure here. Lower it when the operation comes to need less. */
const OTHERS: Record<string, number> = {
  register: 1,
  refreshSession: 1,
  requestPasswordReset: 1,
  requestEmailVerification: 1,
  verifyEmail: 1,
  // the password is compared first, so that a refusal does not count as a failed login
  deleteMyAccount: 4,
  buyPackage: 4,
  promoteListing: 4,
  // the functions for the gross price
  savePackage: 4,
  retirePackage: 4,
}
/** A mutation flushes the log once for each of its transactions. Those of accounts commit in the ordinary way. */
const FLUSHES: Record<string, number> = {
  register: 0,
  login: 0,
  refreshSession: 0,
  requestPasswordReset: 0,
  resetPassword: 0,
  requestEmailVerification: 0,
  verifyEmail: 0,
  changeEmail: 0,
  changePassword: 0,
  buyPackage: 2,
  promoteListing: 2,
  savePackage: 2,
  retirePackage: 2,
}

let statements: Statements
let world: SampleWorld

beforeAll(async () => {
  const database = await cloneDatabase()
  statements = await listenToStatements(database.ownerUrl)
  const server = await startServer({ ...database, ownerUrl: statements.relay.url })
  // the country of the sample for createDealer
  await makeCountry(database.owner)
  const seller = await makeSeller(database, server)
  world = { database, server, seller, admin: await makeAdmin(database, server) }
  await makeSubscription(database.owner, seller.dealerId, { country: seller.country })
  await createListing(server, seller.token, seller.dealerId)
})

afterAll(async () => {
  await world.server.stop()
  await statements.relay.cut()
  await world.database.drop()
})

test.each(rootFields.map(name => [name, OTHERS[name] ?? USUAL] as const))(
  '%s sends %i statements',
  async (name, expected) => {
    // the first call also sends the statements that a connection or the server sends only once
    await (await prepareSample(world, name))()
    const send = await prepareSample(world, name)
    statements.take('forecourt api')
    statements.take('forecourt flush')
    const { status, errors } = await send()
    expect({ status, errors }).toEqual({ status: 200, errors: [] })
    const sent = statements.take('forecourt api')
    // the statements are part of both sides, so that a failure shows them
    expect({ count: sent.length, sent }).toEqual({ count: expected, sent })
    expect(statements.take('forecourt flush')).toHaveLength(FLUSHES[name] ?? (mutations.has(name) ? 1 : 0))
  },
)

test('every figure is for a field that exists and differs from the usual one', () => {
  const needless = Object.entries(OTHERS).filter(
    ([name, count]) => !rootFields.includes(name) || count === USUAL,
  )
  expect(needless).toEqual([])
})

test('a limited operation sends one statement more, on connections of the limiter', async () => {
  const before = statements.take('forecourt limits')
  expect(before.filter(text => text.includes('take_rate_limit'))).toEqual([])
  await world.database.owner.query(
    "update app_public.rate_limit_policies set mode = 'enforce', max_count = 1000 where scope = 'pricing_quote'",
  )
  const quote = await prepareSample(world, 'quoteListing')
  const taken: string[] = []
  for (let tries = 0; tries < 100 && taken.length === 0; tries++) {
    statements.take('forecourt api')
    await quote()
    taken.push(...statements.take('forecourt limits').filter(text => text.includes('take_rate_limit')))
  }
  expect(taken).toHaveLength(1)
  expect(statements.take('forecourt api')).toHaveLength(USUAL)
})
