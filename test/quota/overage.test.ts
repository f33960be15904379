/** Beyond the quota: overage is forbidden only where each running subscription forbids it, and free quota has a switch. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser, single } from '../support/testData.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
})

afterAll(() => database.drop())

const YESTERDAY = "now() - interval '1 day'"

test.each([
  [
    'paid_extra',
    'a cancelled one forbids and the active one allows',
    { cancelled: 'block', active: 'charge' },
  ],
  [
    'paid_extra',
    'a cancelled one allows and the active one forbids',
    { cancelled: 'charge', active: 'block' },
  ],
  ['paid_extra', 'both allow', { cancelled: 'charge', active: 'charge' }],
  ['FC009', 'both forbid', { cancelled: 'block', active: 'block' }],
  [
    'FC009',
    'the active one forbids and a pending one without quota allows',
    { active: 'block', pending: 'charge' },
  ],
  [
    'paid_extra',
    'the active one allows and a pending one without quota forbids',
    { active: 'charge', pending: 'block' },
  ],
  ['paid_extra', 'only a pending one without quota forbids', { pending: 'block' }],
  ['paid_extra', 'an expired one forbids', { expired: 'block' }],
] as const)('a publication beyond the quota is %s where %s', (expected, _where, subscriptions) =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, await makeUser(client))
    for (const [status, overage] of Object.entries(subscriptions)) {
      const endAt = status === 'expired' ? YESTERDAY : undefined
      const startAt = "now() - interval '2 days'"
      const times = endAt === undefined ? { startAt } : { startAt, endAt }
      await makeSubscription(client, dealerId, { status, overage, listings: 0, ...times })
    }
    const decide = "select source from app_private.decide_publication($1, 'DE', clock_timestamp())"
    const outcome = expected.startsWith('FC')
      ? await refusal(client, decide, [dealerId])
      : await single(client, decide, [dealerId])
    expect(outcome).toBe(expected)
  }),
)

test.each([
  [true, 'free_quota 3'],
  [false, 'paid_extra 0'],
])('only a dealer with free quota gets a free listing: %s', (hasFreeQuota, expected) =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, await makeUser(client))
    await client.query(
      `insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
       values ('DE', 'dealer', 3, 30, '(,)')`,
    )
    const decide = `select concat_ws(' ', source, free_remaining)
      from app_private.decide_publication($1, 'DE', clock_timestamp(), $2)`
    expect(await single(client, decide, [dealerId, hasFreeQuota])).toBe(expected)
  }),
)
