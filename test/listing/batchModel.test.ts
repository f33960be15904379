/** Random batches against a plain model of the waterfall, the keys and the references. A failure prints a seed that repeats it. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import fc from 'fast-check'
import type pg from 'pg'
import { type BatchRow, publishBatch, row } from '../support/batches.ts'
import { cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeCountry, makeDealer, makePackage, makeSubscription, makeUser } from '../support/testData.ts'

const SEED = Number(process.env.BATCH_SEED ?? Math.floor(Math.random() * 2 ** 31))
const CASES = Number(process.env.BATCH_CASES ?? 60)
const TIMEOUT_MS = 600_000

type World = {
  free: number
  quotas: number[]
  isPriced: boolean
  overage: 'charge' | 'block'
}

/** A listing of a batch: how it differs from one that is right. `key` chooses one of the keys that were sent before. */
type Draft = {
  fault: 'none' | 'title' | 'currency'
  reference: string | null
  key: number | null
  title: string
}

const world: fc.Arbitrary<World> = fc.record({
  free: fc.nat(4),
  quotas: fc.array(fc.nat(4), { maxLength: 3 }),
  isPriced: fc.boolean(),
  overage: fc.constantFrom('charge', 'block'),
})
const draft: fc.Arbitrary<Draft> = fc.record({
  fault: fc.oneof(
    { weight: 8, arbitrary: fc.constant('none' as const) },
    { weight: 1, arbitrary: fc.constant('title' as const) },
    { weight: 1, arbitrary: fc.constant('currency' as const) },
  ),
  reference: fc.option(fc.constantFrom('a', 'b', 'c'), { freq: 3 }),
  key: fc.option(fc.nat(20), { freq: 4 }),
  title: fc.constantFrom('A car', 'A van'),
})
const batches = fc.array(fc.array(draft, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 5 })

/** What is stored for a dealer. */
type Model = World & {
  /** By key: the payload of a listing that was created, and its id once it is known. */
  created: Map<string, { payload: string; id: string | undefined }>
  references: Set<string>
}

type Expected = { source: string } | { replayed: string } | { refused: string }

const payloadOf = ({ idempotencyKey: _, ...payload }: BatchRow) => JSON.stringify(payload)

/** What pays for the next listing, or why nothing does. */
function decide(model: Model): Expected {
  if (model.free > 0) {
    model.free -= 1
    return { source: 'free_quota' }
  }
  const subscription = model.quotas.findIndex(left => left > 0)
  if (subscription >= 0) {
    model.quotas[subscription] = (model.quotas[subscription] ?? 0) - 1
    return { source: 'subscription_quota' }
  }
  if (model.quotas.length > 0 && model.overage === 'block') return { refused: 'FC009' }
  return model.isPriced ? { source: 'paid_extra' } : { refused: 'FC005' }
}

/** The results of a batch. */
function expectBatch(model: Model, batch: readonly BatchRow[]): Expected[] {
  return batch.map(input => {
    const known = model.created.get(input.idempotencyKey)
    if (known !== undefined)
      return known.payload === payloadOf(input) ? { replayed: known.id ?? '' } : { refused: 'FC007' }
    const reference = input.externalId as string | null
    if (input.title === '') return { refused: '23514 listings_title_length' }
    if (input.currency !== 'EUR') return { refused: '23503 listings_currency_known' }
    if (reference !== null && model.references.has(reference))
      return { refused: '23505 ux_listings_external_id' }
    const paid = decide(model)
    if ('refused' in paid) return paid
    if (reference !== null) model.references.add(reference)
    model.created.set(input.idempotencyKey, { payload: payloadOf(input), id: undefined })
    return paid
  })
}

/** Turns drafts into input. A key of before goes to one listing of the batch. */
function inputOf(drafts: readonly Draft[], sent: readonly BatchRow[]): BatchRow[] {
  const keys = new Set<string>()
  return drafts.map(({ fault, reference, key, title }) => {
    const fresh = row({
      title: fault === 'title' ? '' : title,
      currency: fault === 'currency' ? 'XXX' : 'EUR',
      price: 9900,
      externalId: reference,
    })
    const earlier = key === null ? undefined : sent[key % Math.max(1, sent.length)]
    if (earlier === undefined || keys.has(earlier.idempotencyKey)) return fresh
    keys.add(earlier.idempotencyKey)
    // half of them are retries, the others have another listing for the same key
    return key !== null && key % 2 === 0 ? earlier : { ...fresh, idempotencyKey: earlier.idempotencyKey }
  })
}

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

async function makeWorld(client: pg.PoolClient, given: World): Promise<string> {
  await makeCountry(client, { freeListings: given.free, ...(given.isPriced ? {} : { price: null }) })
  const userId = await makeUser(client)
  const dealerId = await makeDealer(client, userId)
  const packageId = await makePackage(client)
  // the first runs, the others wait for it
  for (const [index, listings] of given.quotas.entries()) {
    const status = index === 0 ? 'active' : 'pending'
    await makeSubscription(client, dealerId, { packageId, listings, overage: given.overage, status })
  }
  await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
  return dealerId
}

test(
  'random batches have the results of the model, and leave the ledger in order',
  () =>
    fc.assert(
      fc.asyncProperty(world, batches, (given, drafted) =>
        rolledBack(database, async client => {
          const dealerId = await makeWorld(client, given)
          const model: Model = {
            ...given,
            quotas: [...given.quotas],
            created: new Map(),
            references: new Set(),
          }
          const sent: BatchRow[] = []
          for (const drafts of drafted) {
            const input = inputOf(drafts, sent)
            const expected = expectBatch(model, input)
            const results = await publishBatch(client, dealerId, input)
            const { rows: paid } = await client.query<{ id: string; source: string }>(
              'select listing_id as id, source from app_public.listing_consumptions where dealer_id = $1',
              [dealerId],
            )
            const sources = new Map(paid.map(({ id, source }) => [id, source]))
            for (const [index, { id, refused }] of results.entries()) {
              const wanted = expected[index] as Expected
              const found =
                refused !== null
                  ? { refused }
                  : 'replayed' in wanted
                    ? { replayed: id }
                    : { source: sources.get(id as string) }
              expect([index, found]).toEqual([index, wanted])
              const made = model.created.get(input[index]?.idempotencyKey ?? '')
              if (made !== undefined && refused === null) made.id = id as string
            }
            expect(paid).toHaveLength(model.created.size)
            expect(await brokenRules(client)).toEqual([])
            sent.push(...input)
          }
        }),
      ),
      { numRuns: CASES, seed: SEED },
    ),
  TIMEOUT_MS,
)
