/** Cancellations of a checkout that meet another cancellation, a payment or a purchase: one side wins, and nothing is half done. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { become, cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countDealerRows } from '../support/ledger.ts'
import {
  BUY,
  buy,
  buyAndCommit,
  CANCEL_CHECKOUT as CANCEL,
  checkoutStatuses,
  PAY,
  subscriptionStatuses,
} from '../support/purchases.ts'
import { makeAdminUser, makeCountry, makeDealer, makePackage, makeUser } from '../support/testData.ts'
import { committed, concurrently, countOutcomes, interleave, sqlstate } from '../support/transactions.ts'

let database: TestDatabase
let userId: string
let packageId: string
let admin: { admin: string }

beforeAll(async () => {
  database = await cloneDatabase()
  admin = { admin: await makeAdminUser(database.owner) }
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner)
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
})

const newDealer = () => makeDealer(database.owner, userId)

test('20 concurrent cancellations void the invoice once', async () => {
  const id = await buyAndCommit(database, userId, await newDealer(), packageId)
  const outcomes = await concurrently(database, { dealer: userId }, 20, client => client.query(CANCEL, [id]))
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  const count =
    "select count(*)::int from app_public.audit_logs where action = 'VOID_INVOICE' and resource_id = $1"
  expect((await database.owner.query(count, [id])).rows).toEqual([{ count: 1 }])
})

test('of two cancellations the second waits for the first, and returns the same', async () => {
  const id = await buyAndCommit(database, userId, await newDealer(), packageId)
  const both = { first: { dealer: userId }, second: { dealer: userId } }
  await interleave(database, both, async ({ first, second }) => {
    const { rows } = await first.query(CANCEL, [id])
    const waiting = await second.startBlocked(CANCEL, [id])
    await first.commit()
    expect((await waiting.result).rows).toEqual(rows)
    await second.commit()
  })
})

test('a payment that waits for a cancellation is refused, and no subscription starts', async () => {
  const dealerId = await newDealer()
  const id = await buyAndCommit(database, userId, dealerId, packageId)
  await interleave(
    database,
    { canceller: { dealer: userId }, payer: admin },
    async ({ canceller, payer }) => {
      await canceller.query(CANCEL, [id])
      const waiting = await payer.startBlocked(PAY, [id])
      await canceller.commit()
      expect(await sqlstate(waiting.result)).toBe('FC008')
    },
  )
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual([])
  expect(await checkoutStatuses(database.owner, id)).toEqual(['cancelled', 'void'])
})

test('a cancellation that waits for a payment is refused, and the subscription runs', async () => {
  const dealerId = await newDealer()
  const id = await buyAndCommit(database, userId, dealerId, packageId)
  await interleave(
    database,
    { payer: admin, canceller: { dealer: userId } },
    async ({ payer, canceller }) => {
      await payer.query(PAY, [id])
      const waiting = await canceller.startBlocked(CANCEL, [id])
      await payer.commit()
      expect(await sqlstate(waiting.result)).toBe('FC008')
    },
  )
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['active'])
  expect(await checkoutStatuses(database.owner, id)).toEqual(['paid', 'paid'])
})

test.each(['cancel', 'pay'])(
  '10 cancellations and 10 payments at once, %s first: one side wins',
  async first => {
    const dealerId = await newDealer()
    const id = await buyAndCommit(database, userId, dealerId, packageId)
    const isCancel = (index: number) => (index % 2 === 0) === (first === 'cancel')
    const outcomes = await concurrently(
      database,
      'owner',
      20,
      (client, index) => client.query(isCancel(index) ? CANCEL : PAY, [id]),
      (client, index) => become(client, isCancel(index) ? { dealer: userId } : admin),
    )
    expect(countOutcomes(outcomes)).toEqual({ ok: 10, FC008: 10 })
    const statuses = await checkoutStatuses(database.owner, id)
    const won = outcomes.findIndex(({ status }) => status === 'fulfilled')
    expect(statuses).toEqual(isCancel(won) ? ['cancelled', 'void'] : ['paid', 'paid'])
    expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(isCancel(won) ? [] : ['active'])
  },
)

test.each(['cancel', 'buy'])(
  'a purchase with the same key and a cancellation at once, %s first: the key returns the one checkout, which is cancelled',
  async first => {
    const dealerId = await newDealer()
    const purchase = [dealerId, packageId, randomUUID()]
    const id = await committed(database, { dealer: userId }, client =>
      buy(client, dealerId, packageId, purchase[2]),
    )
    const both = { buyer: { dealer: userId }, canceller: { dealer: userId } }
    await interleave(database, both, async ({ buyer, canceller }) => {
      const purchaseCall = { by: buyer, sql: BUY, values: purchase }
      const cancellation = { by: canceller, sql: CANCEL, values: [id] }
      const [early, late] = first === 'buy' ? [purchaseCall, cancellation] : [cancellation, purchaseCall]
      await early.by.query(early.sql, early.values)
      const waiting = await late.by.startBlocked(late.sql, late.values)
      await early.by.commit()
      expect((await waiting.result).rows[0].invoice_id).toBe(id)
      await late.by.commit()
    })
    expect(await checkoutStatuses(database.owner, id)).toEqual(['cancelled', 'void'])
    expect(await countDealerRows(database.owner, dealerId)).toMatchObject({ invoices: 1, checkouts: 1 })
  },
)

test('a repeated cancellation that waits for the next purchase leaves that purchase open', async () => {
  const dealerId = await newDealer()
  const id = await buyAndCommit(database, userId, dealerId, packageId)
  await committed(database, { dealer: userId }, client => client.query(CANCEL, [id]))
  const both = { buyer: { dealer: userId }, canceller: { dealer: userId } }
  await interleave(database, both, async ({ buyer, canceller }) => {
    const other = await buyer.query(BUY, [dealerId, packageId, randomUUID()])
    const waiting = await canceller.startBlocked(CANCEL, [id])
    await buyer.commit()
    expect((await waiting.result).rows[0].invoice_id).toBe(id)
    await canceller.commit()
    expect(await checkoutStatuses(database.owner, other.rows[0]?.invoice_id)).toEqual(['open', 'draft'])
  })
})
