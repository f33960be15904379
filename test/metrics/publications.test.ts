/** Which publications are counted, and by which source. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { metric } from '../support/limits.ts'
import { makeSeller } from '../support/seller.ts'

let database: TestDatabase
let server: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database, { POOL_SIZE: '1' })
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(() => database.owner.query('drop trigger if exists failing on app_public.listings'))

const SOURCES = ['free_quota', 'subscription_quota', 'paid_extra']

/** How many publications of each source are counted while `work` runs. */
async function counted(work: () => Promise<unknown>): Promise<number[]> {
  const read = () => Promise.all(SOURCES.map(name => metric(server, `publications_total{source="${name}"}`)))
  const before = await read()
  await work()
  return (await read()).map((count, index) => count - (before[index] ?? 0))
}

/** Publishes, and selects `fields` of the payload. */
function publish(fields: string, seller: { token: string; dealerId: string }, key = randomUUID()) {
  const input = `{ dealerId: "${seller.dealerId}", idempotencyKey: "${key}", title: "A car", module: "auto", price: "1", currency: "EUR" }`
  return server.call(`mutation { createListing(input: ${input}) { ${fields} } }`, { token: seller.token })
}

test('a publication is counted by its source, and a repeated call is not counted', async () => {
  const seller = await makeSeller(database, server, { freeListings: 1 })
  const keys = [randomUUID(), randomUUID(), randomUUID()]
  const publishAll = async () => {
    for (const idempotencyKey of keys) {
      const { errors } = await createListing(server, seller.token, seller.dealerId, { idempotencyKey })
      expect(errors).toEqual([])
    }
  }
  expect(await counted(publishAll)).toEqual([1, 0, 2])
  expect(await counted(publishAll)).toEqual([0, 0, 0])
})

test.each(['clientMutationId', '__typename', 'listing { __typename }', 'listing { consumption { source } }'])(
  'a publication is counted once whichever fields the client selects: %s',
  async fields => {
    const seller = await makeSeller(database, server)
    const key = randomUUID()
    const call = async () => expect((await publish(fields, seller, key)).errors).toEqual([])
    expect(await counted(call)).toEqual([0, 0, 1])
    expect(await counted(call)).toEqual([0, 0, 0])
  },
)

test.each(['after insert', 'after insert on commit'])(
  'a publication is not counted when its transaction fails: %s',
  async moment => {
    const seller = await makeSeller(database, server)
    await database.owner.query(`
      create or replace function app_private.fail() returns trigger language plpgsql as $$
      begin raise exception using errcode = '42804'; end $$;
      create constraint trigger failing after insert on app_public.listings
        ${moment.includes('commit') ? 'deferrable initially deferred' : ''} for each row execute function app_private.fail()`)
    const call = async () => expect((await publish('listing { id }', seller)).errors).toHaveLength(1)
    expect(await counted(call)).toEqual([0, 0, 0])
    await database.owner.query('drop trigger failing on app_public.listings')
    const succeed = async () => expect((await publish('listing { id }', seller)).errors).toEqual([])
    expect(await counted(succeed)).toEqual([0, 0, 1])
  },
)

test('a refused publication is not counted, and neither is the next replay on its connection', async () => {
  const seller = await makeSeller(database, server)
  const stranger = await makeSeller(database, server)
  const key = randomUUID()
  expect(await counted(() => publish('listing { id }', seller, key))).toEqual([0, 0, 1])
  const work = async () => {
    const refused = await publish('listing { id }', { ...seller, token: stranger.token })
    expect(refused.errors[0]?.extensions.code).toBe('forbidden')
    expect((await publish('listing { id }', seller, key)).errors).toEqual([])
  }
  expect(await counted(work)).toEqual([0, 0, 0])
})
