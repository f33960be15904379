/** Creating a dealer: idempotency by user, the limit of dealers for each account, free quota, and open countries. */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { countSources } from '../support/ledger.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  publish,
  single,
} from '../support/testData.ts'
import { committed, concurrently, countOutcomes, interleave, sqlstate } from '../support/transactions.ts'

const CREATE = 'select id from app_public.create_dealer($1, $2, $3, $4)'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner, { freeListings: 1 })
  await makeCountry(database.owner, { country: 'AT' })
})

afterAll(() => database.drop())

type Input = { name?: string; country?: string; type?: string; key?: string | null }
const values = ({ name = 'Cars', country = 'DE', type = 'general', key = null }: Input = {}) => [
  name,
  country,
  type,
  key,
]
const create = (client: Pick<pg.ClientBase, 'query'>, input?: Input) => single(client, CREATE, values(input))

/** Runs `work` as a new user, and rolls everything back. */
function withUser(work: (client: pg.PoolClient, userId: string) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    const userId = await makeUser(client)
    await become(client, { dealer: userId })
    await work(client, userId)
  })
}

test('the same key of the same user with the same input returns the same dealer, and creates nothing', () =>
  withUser(async (client, userId) => {
    const key = randomUUID()
    const first = await create(client, { key })
    expect(await create(client, { key })).toBe(first)
    expect(await single(client, 'select count(*)::int from app_public.dealer_users')).toBe(1)
    const otherId = await makeUser(database.owner)
    await become(client, { dealer: otherId })
    expect(await create(client, { key })).not.toBe(first)
    await become(client, { dealer: userId })
    expect(await create(client, { key: randomUUID() })).not.toBe(first)
    expect(await create(client)).not.toBe(await create(client))
  }))

test.each([{ name: 'Other' }, { country: 'AT' }, { type: 'auto_dealer' }, { country: 'ZZ' }])(
  'the same key with other input is refused: %j',
  other =>
    withUser(async (client, _userId) => {
      const key = randomUUID()
      await create(client, { key })
      expect(await refusal(client, CREATE, values({ ...other, key }))).toBe('FC007')
    }),
)

test('20 concurrent calls with one key create one dealer', async () => {
  const userId = await makeUser(database.owner)
  const key = randomUUID()
  const outcomes = await concurrently(database, { dealer: userId }, 20, client => create(client, { key }))
  const ids = outcomes.map(outcome => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason))
  expect(new Set(ids).size).toBe(1)
  const members = 'select dealer_id from app_public.dealer_users where user_id = $1'
  expect((await database.owner.query(members, [userId])).rows).toEqual([{ dealer_id: ids[0] }])
})

test('20 concurrent calls with different keys create five dealers, of which one has free quota', async () => {
  const userId = await makeUser(database.owner)
  const outcomes = await concurrently(database, { dealer: userId }, 20, client =>
    create(client, { key: randomUUID() }),
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 5, FC008: 15 })
  const made = `select count(*)::int as dealers, count(*) filter (where d.has_free_quota)::int as free
    from app_public.dealers as d join app_public.dealer_users as m on m.dealer_id = d.id where m.user_id = $1`
  expect((await database.owner.query(made, [userId])).rows).toEqual([{ dealers: 5, free: 1 }])
})

test('an account creates as many dealers as its limit says, and a replay at the limit returns its dealer', () =>
  withUser(async (client, userId) => {
    const key = randomUUID()
    const first = await create(client, { key })
    for (let number = 2; number <= 5; number += 1) await create(client)
    expect(await refusal(client, CREATE, values())).toBe('FC008')
    expect(await create(client, { key })).toBe(first)
    await become(client, 'owner')
    await client.query('update app_public.users set dealer_limit = 6 where id = $1', [userId])
    await become(client, { dealer: userId })
    await create(client)
    expect(await refusal(client, CREATE, values())).toBe('FC008')
  }))

test('dealers of which the account is only a member do not count', () =>
  withUser(async (client, userId) => {
    await become(client, 'owner')
    for (let number = 1; number <= 6; number += 1) await makeDealer(client, userId)
    await become(client, { dealer: userId })
    const dealerId = await create(client)
    await become(client, 'owner')
    const isFree = 'select has_free_quota from app_public.dealers where id = $1'
    expect(await single(client, isFree, [dealerId])).toBe(true)
  }))

test('only the first dealer of an account has free listings, for quote and charge alike', () =>
  withUser(async (client, userId) => {
    const [first, second] = [await create(client), await create(client)]
    const quoted = 'select source::text || free_remaining from app_public.quote_listing($1)'
    expect(await single(client, quoted, [first])).toBe('free_quota1')
    expect(await single(client, quoted, [second])).toBe('paid_extra0')
    for (const dealerId of [first, second]) await publish(client, dealerId)
    await become(client, 'owner')
    expect(await countSources(client, first)).toEqual({ free_quota: 1 })
    expect(await countSources(client, second)).toEqual({ paid_extra: 1 })
    await client.query('update app_public.dealers set has_free_quota = true where id = $1', [second])
    await become(client, { dealer: userId })
    await publish(client, second)
    await become(client, 'owner')
    expect(await countSources(client, second)).toEqual({ paid_extra: 1, free_quota: 1 })
  }))

test('a country that is unknown, closed or malformed is refused', () =>
  withUser(async (client, userId) => {
    await become(client, 'owner')
    await client.query("update app_public.country_currencies set closed_at = now() where country = 'AT'")
    await become(client, { dealer: userId })
    for (const country of ['ZZ', 'AT', 'de', 'DE ', '']) {
      expect(await refusal(client, CREATE, values({ country }))).toBe('FC010')
    }
    await become(client, 'owner')
    await client.query("update app_public.country_currencies set closed_at = null where country = 'AT'")
    await become(client, { dealer: userId })
    await create(client, { country: 'AT' })
  }))

test('a call waits for another one of the same user, but not for one of another user', async () => {
  const userId = await makeUser(database.owner)
  const both = {
    first: { dealer: userId },
    second: { dealer: userId },
    stranger: { dealer: await makeUser(database.owner) },
  }
  await interleave(database, both, async ({ first, second, stranger }) => {
    const key = randomUUID()
    await first.query(CREATE, values({ key }))
    await stranger.query("set local lock_timeout to '1s'")
    await stranger.query(CREATE, values({ key }))
    const waiting = await second.startBlocked(CREATE, values({ key, name: 'Other' }))
    await first.commit()
    expect(await sqlstate(waiting.result)).toBe('FC007')
  })
})

/** The SQL statements under a heading of docs/operations.md. */
async function documentedStatements(heading: string): Promise<string[]> {
  const text = await readFile(new URL('../../docs/operations.md', import.meta.url), 'utf8')
  const [, section = ''] = text.split(`### ${heading}\n`)
  const [, sql = ''] = /```sql\n([\s\S]*?)```/.exec(section) ?? []
  return sql
    .split(';\n')
    .map(statement => statement.trim())
    .filter(statement => statement !== '')
}

test('after the documented closing of a country no dealer is created there, and no gap is reported', () =>
  withUser(async (client, userId) => {
    await become(client, 'owner')
    const packageId = await makePackage(client)
    const dealerId = await makeDealer(client, userId)
    await makeSubscription(client, dealerId, { packageId, endAt: "now() + interval '10 days'" })
    await makeSubscription(client, dealerId, { packageId, status: 'pending' })
    await makeSubscription(client, await makeDealer(client, userId), {
      packageId,
      status: 'cancelled',
      endAt: "now() + interval '50 days'",
    })
    await become(client, { admin: await makeAdminUser(client) })
    await client.query("select app_public.close_country('DE')")
    await become(client, 'owner')
    const waits: unknown[] = []
    for (const statement of await documentedStatements('Close a country')) {
      const { rows } = await client.query(statement)
      if (rows.length > 0) {
        waits.push(...rows)
        await become(client, { dealer: userId })
        expect(await refusal(client, CREATE, values())).toBe('FC010')
        await become(client, 'owner')
      }
    }
    // 10 days of the running subscription, then 30 of the pending one: less than the 50 of the cancelled one
    const days = await client.query(
      'select round(extract(epoch from $1::timestamptz - now()) / 86400)::int as days',
      [Object.values(waits[0] as object)[0]],
    )
    expect([waits.length, days.rows]).toEqual([1, [{ days: 50 }]])
    const gaps = await client.query("select * from app_public.pricing_gaps where country = 'DE'")
    expect(gaps.rows).toEqual([])
    await become(client, { dealer: userId })
    expect(await refusal(client, CREATE, values())).toBe('FC010')
  }))

test('the same key on another connection returns the same dealer', async () => {
  const userId = await makeUser(database.owner)
  const key = randomUUID()
  const first = await committed(database, { dealer: userId }, client => create(client, { key }))
  expect(await committed(database, { dealer: userId }, client => create(client, { key }))).toBe(first)
})
