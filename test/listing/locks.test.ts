/** `create_listing` takes the locks of `lock_dealer` in statements of its own: the rows must be the same. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeCountry, makeDealer, makePackage, makeSubscription, makeUser } from '../support/testData.ts'
import { interleave, type OpenTransaction } from '../support/transactions.ts'

const PAST = "now() - interval '1 hour'"
const BEGUN = "now() - interval '30 days'"
const SUBSCRIPTIONS = {
  pending: { status: 'pending' },
  overdue: { status: 'active', startAt: BEGUN, endAt: PAST },
  cancelled: { status: 'cancelled' },
  'cancelled and over': { status: 'cancelled', startAt: BEGUN, endAt: PAST },
  expired: { status: 'expired', startAt: BEGUN, endAt: PAST },
}

const PUBLISH = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 9900, 'EUR')"

let database: TestDatabase
let userId: string
let dealerId: string
const names = new Map<string, string>()

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  userId = await makeUser(database.owner)
  dealerId = await makeDealer(database.owner, userId)
  names.set(dealerId, 'the dealer')
  const packageId = await makePackage(database.owner)
  for (const [name, options] of Object.entries(SUBSCRIPTIONS))
    names.set(await makeSubscription(database.owner, dealerId, { ...options, packageId }), name)
})

afterAll(() => database.drop())

/** The rows of the dealer that a transaction has locked after this work. */
async function lockedAfter(work: (transaction: OpenTransaction) => Promise<unknown>): Promise<string[]> {
  const locked: string[] = []
  await interleave(database, { holder: { dealer: userId }, other: 'owner' }, async ({ holder, other }) => {
    await work(holder)
    const free = await other.query<{ id: string }>(
      `select * from (select id from app_public.dealers where id = $1 for no key update skip locked) as d
       union all
       select * from (select id from app_public.dealer_subscriptions where dealer_id = $1 for update skip locked) as s`,
      [dealerId],
    )
    const ids = new Set(free.rows.map(({ id }) => id))
    for (const [id, name] of names) if (!ids.has(id)) locked.push(name)
  })
  return locked
}

test('a publication locks the dealer and the subscriptions that every other write for a dealer locks', async () => {
  const expected = ['the dealer', 'pending', 'overdue', 'cancelled']
  const byLockDealer = await lockedAfter(async holder => {
    await holder.query('reset role')
    await holder.query('select app_private.lock_dealer($1)', [dealerId])
  })
  expect(byLockDealer).toEqual(expected)
  expect(await lockedAfter(holder => holder.query(PUBLISH, [dealerId]))).toEqual(expected)
})
