/** One dealer, user or address whose requests all wait: others are served meanwhile. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { startApiProcess } from '../support/apiProcess.ts'
import {
  type ApiResponse,
  CREATE_LISTING,
  createListing,
  startServer,
  type TestServer,
} from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { metric } from '../support/limits.ts'
import { makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makeUser } from '../support/testData.ts'
import { holding, until } from '../support/waits.ts'

const POOL_SIZE = 10
/** Of ten slots, one key takes six. */
const SHARE = 6
const CLIENTS = 20
const LOCK_DEALERS = 'select from app_public.dealers where id = any ($1) for update'
const FORWARDED = { TRUST_PROXY: '127.0.0.1', POOL_SIZE: String(POOL_SIZE) }

let database: TestDatabase
let server: TestServer
let neighbours: Seller[]
let seller: Seller

beforeEach(async () => {
  database = await cloneDatabase()
  // statements then wait for their timeout of ten seconds, which leaves a slow machine time enough
  await database.superuser.query("alter function app_public.create_listing set lock_timeout to '60s'")
  server = await startServer(database, FORWARDED)
  seller = await makeSeller(database, server)
  neighbours = []
  for (let count = 0; count < 4; count += 1)
    neighbours.push(await makeSellerIn(database, server, seller.country))
})

afterEach(async () => {
  await server.stop()
  expect(await brokenRules(database.owner)).toEqual([])
  await database.drop()
})

/** A member of the seller's dealer. */
async function makeMember(): Promise<string> {
  const userId = await makeUser(database.owner)
  const insert = "insert into app_public.dealer_users (dealer_id, user_id, role) values ($1, $2, 'staff')"
  await database.owner.query(insert, [seller.dealerId, userId])
  return server.tokenFor(userId)
}

async function untilShareTaken(): Promise<void> {
  await until(`${SHARE} requests are in progress`, async () => {
    return (await metric(server, 'admission_in_progress')) === SHARE
  })
}

/** The number of backends that work for the API. */
async function busyBackends(): Promise<number> {
  const { rows } = await database.superuser.query<{ busy: number }>(
    `select count(*)::integer as busy from pg_stat_activity
     where datname = current_database() and application_name = 'forecourt api' and state = 'active'`,
  )
  return rows[0]?.busy ?? 0
}

/** Each neighbour publishes five times, while none of the waiting requests gets a response. */
async function expectNeighboursServed(waiting: Promise<unknown>[]): Promise<void> {
  let answered = 0
  for (const request of waiting) request.finally(() => (answered += 1)).catch(() => {})
  await untilShareTaken()
  const statuses = await Promise.all(
    neighbours.map(async ({ token, dealerId }) => {
      const found: number[] = []
      for (let count = 0; count < 5; count += 1)
        found.push((await createListing(server, token, dealerId)).status)
      return found
    }),
  )
  expect(statuses.flat()).toEqual(Array(20).fill(200))
  expect(answered).toBe(0)
}

/** A request that has a slot succeeds in the end. On a slow machine, one may have waited for its slot for too long. */
async function expectAnswered(waiting: Promise<ApiResponse<unknown>>[]): Promise<void> {
  const statuses = (await Promise.all(waiting)).map(({ status }) => status)
  expect(statuses.filter(status => status === 200).length).toBeGreaterThanOrEqual(SHARE)
  expect(statuses.filter(status => status !== 200 && status !== 503)).toEqual([])
}

test('while the row of a dealer is locked, its members take six of ten slots, and other dealers publish', async () => {
  const tokens = await Promise.all(Array.from({ length: CLIENTS }, makeMember))
  await holding(database, LOCK_DEALERS, [[seller.dealerId]], async release => {
    const waiting = tokens.map(token => createListing(server, token, seller.dealerId))
    await expectNeighboursServed(waiting)
    await release()
    await expectAnswered(waiting)
  })
})

test('while all dealers of a user are locked, the user takes six of ten slots, and other users publish', async () => {
  const dealers = await Promise.all(
    Array.from({ length: CLIENTS }, () => makeSellerIn(database, server, seller.country)),
  )
  const insert = "insert into app_public.dealer_users (dealer_id, user_id, role) values ($1, $2, 'staff')"
  for (const { dealerId } of dealers) await database.owner.query(insert, [dealerId, seller.userId])
  const ids = dealers.map(({ dealerId }) => dealerId)
  await holding(database, LOCK_DEALERS, [ids], async release => {
    const waiting = ids.map(id => createListing(server, seller.token, id))
    await expectNeighboursServed(waiting)
    await release()
    await expectAnswered(waiting)
  })
})

/** Makes quotes wait for an advisory lock. */
async function makeQuotesSlow(): Promise<void> {
  await database.superuser.query(`
    create or replace function app_public.quote_listing(dealer_id uuid) returns app_public.listing_quote
      language plpgsql stable security definer as $$
    begin
      perform pg_advisory_xact_lock_shared(1);
      return row('free_quota', 0, 0, 0, 'EUR', 0, 0)::app_public.listing_quote;
    end $$`)
}

test('slow reads of one user take six of ten connections, however many fields each has, and other users publish', async () => {
  await makeQuotesSlow()
  // with different arguments, or one statement would serve them all
  const fields = Array.from(
    { length: 10 },
    (_, index) => `q${index}: quoteListing(dealerId: "${randomUUID()}") { source }`,
  )
  await holding(database, 'select pg_advisory_xact_lock(1)', [], async release => {
    const waiting = Array.from({ length: CLIENTS }, () =>
      server.call(`{ ${fields.join(' ')} }`, { token: seller.token }),
    )
    await untilShareTaken()
    await until('their statements wait', async () => (await busyBackends()) >= SHARE)
    expect(await busyBackends()).toBe(SHARE)
    await expectNeighboursServed(waiting)
    await release()
    await expectAnswered(waiting)
  })
})

test('clients that disconnect and try again take no more than six of ten connections', async () => {
  await holding(database, LOCK_DEALERS, [[seller.dealerId]], async () => {
    for (let count = 0; count < 5; count += 1) {
      const leaving = new AbortController()
      const gone = Array.from({ length: CLIENTS }, () =>
        fetch(`${server.url}/graphql`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization: `Bearer ${seller.token}` },
          body: JSON.stringify({
            query: CREATE_LISTING,
            variables: {
              input: {
                dealerId: seller.dealerId,
                idempotencyKey: randomUUID(),
                title: 'A car',
                module: 'auto',
                price: '1',
                currency: 'EUR',
              },
            },
          }),
          signal: leaving.signal,
        }).catch(() => {}),
      )
      await untilShareTaken()
      leaving.abort()
      await Promise.all(gone)
    }
    await until('their statements wait', async () => (await busyBackends()) >= SHARE)
    expect(await busyBackends()).toBe(SHARE)
    await expectNeighboursServed([])
  })
})

test('visitors of one address take six of ten slots, and visitors of another are served', async () => {
  await holding(database, 'lock table app_public.dealer_packages in access exclusive mode', [], async () => {
    const call = (address: string, query: string) =>
      server.call(query, { headers: { 'x-forwarded-for': address } })
    const waiting = Array.from({ length: CLIENTS }, () =>
      call('192.0.2.1', '{ dealerPackages { totalCount } }'),
    )
    await untilShareTaken()
    expect((await call('192.0.2.2', '{ listings { totalCount } }')).status).toBe(200)
    await database.superuser.query(
      "select pg_cancel_backend(pid) from pg_stat_activity where application_name = 'forecourt api' and datname = current_database()",
    )
    await Promise.race(waiting)
  })
})

/** Clients that publish one listing after another, each without a pause, until `stop`. */
function publishers(api: TestServer, sellers: Pick<Seller, 'token' | 'dealerId'>[]) {
  let published = 0
  let isOver = false
  const clients = sellers.map(async ({ token, dealerId }) => {
    while (!isOver) {
      const { status } = await createListing(api, token, dealerId)
      if (status === 200) published += 1
    }
  })
  return {
    /** Listings in each second of the next ones. */
    async rate(seconds: number): Promise<number> {
      const before = published
      await sleep(seconds * 1000)
      return (published - before) / seconds
    },
    async stop() {
      isOver = true
      await Promise.all(clients)
    },
  }
}

test('while twenty clients publish for a locked dealer, four of other dealers keep half of their rate', async () => {
  await database.superuser.query("alter function app_public.create_listing set lock_timeout to '3s'")
  const api = await startApiProcess(database, { LOG_LEVEL: 'warn' })
  const others = publishers(api, neighbours)
  try {
    await others.rate(2)
    const usual = await others.rate(4)
    await holding(database, LOCK_DEALERS, [[seller.dealerId]], async () => {
      const waiting = publishers(api, Array(CLIENTS).fill(seller))
      try {
        const rate = await others.rate(10)
        expect(rate).toBeGreaterThan(usual / 2)
      } finally {
        await waiting.stop()
      }
    })
  } finally {
    await others.stop()
    await api.stop()
  }
})

test('a publication that waits for the disk takes no connection from the share of its dealer', async () => {
  await server.stop()
  // of four connections, one key takes two
  server = await startServer(database, { POOL_SIZE: '4' })
  expect((await createListing(server, seller.token, seller.dealerId)).status).toBe(200)
  const { rows } = await database.superuser.query<{ pid: number }>(
    "select pid from pg_stat_activity where datname = current_database() and application_name = 'forecourt flush'",
  )
  const flush = rows[0]?.pid ?? 0
  process.kill(flush, 'SIGSTOP')
  const waiting = Array.from({ length: 6 }, () => createListing(server, seller.token, seller.dealerId))
  try {
    await until('all publications have committed', async () => {
      const { rows } = await database.superuser.query('select id from app_public.listings')
      return rows.length === 7
    })
    expect(await metric(server, 'admission_in_progress')).toBe(6)
  } finally {
    process.kill(flush, 'SIGCONT')
  }
  expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual(Array(6).fill(200))
})
