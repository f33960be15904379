/** A synchronous standby that is away: each commit waits for it, and the API must not pile up backends. */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { migrate } from '../../src/database/migrate.ts'
import { runInTransaction } from '../../src/database/pipeline.ts'
import { CONNECTIONS, makePool } from '../../src/database/pool.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'
import { toFault } from '../../src/request/errors.ts'
import { startApiProcess } from '../support/apiProcess.ts'
import { createListing, type TestServer } from '../support/apiServer.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeCountry, makeDealer, makeUser } from '../support/testData.ts'
import { until } from '../support/waits.ts'

const POOL_SIZE = 10
const BACKENDS =
  POOL_SIZE + CONNECTIONS.flush + CONNECTIONS.limiter + CONNECTIONS.listener + CONNECTIONS.metrics
const CLIENTS = 20
/** Longer than a statement's timeout and the margins of the client. */
const LOAD_SECONDS = 15

const directory = mkdtempSync(join(tmpdir(), 'forecourt-standby-'))
let server: EmbeddedServer
let owner: pg.Pool
let superuser: pg.Pool
let api: TestServer

beforeAll(async () => {
  server = await startEmbedded({ directory, settings: { fsync: 'off' }, log: () => {} })
  await migrate({ databaseUrl: server.ownerUrl, log: () => {} })
  owner = new pg.Pool({ connectionString: server.ownerUrl })
  // this session's own commits do not wait
  superuser = new pg.Pool({ connectionString: server.superuserUrl, options: '-c synchronous_commit=local' })
  for (const pool of [owner, superuser]) pool.on('error', () => {})
  await makeCountry(owner)
  await owner.query("update app_public.rate_limit_policies set mode = 'off'")
  api = await startApiProcess(server, { POOL_SIZE: String(POOL_SIZE), DEMO_DATA: '0' })
})

afterAll(async () => {
  await api.stop()
  await standbyBack()
  await owner.end()
  await superuser.end()
  // graphile-migrate keeps its connections for a moment
  await sleep(500)
  await server.stop()
  rmSync(directory, { recursive: true })
})

async function standbyAway(): Promise<void> {
  await superuser.query("alter system set synchronous_standby_names = 'nobody'")
  await superuser.query('select pg_reload_conf()')
  const { rows } = await superuser.query('select pg_sleep(0.2)')
  expect(rows).toHaveLength(1)
}

async function standbyBack(): Promise<void> {
  await superuser.query('alter system reset synchronous_standby_names')
  await superuser.query('select pg_reload_conf()')
}

async function backends(): Promise<number> {
  const { rows } = await superuser.query<{ count: number }>(
    "select count(*)::integer from pg_stat_activity where usename = 'forecourt_authenticator'",
  )
  return rows[0]?.count ?? 0
}

type Client = {
  dealerId: string
  token: string
  keys: string[]
  answers: number[]
  made: Map<string, string>
}

async function makeClient(): Promise<Client> {
  const userId = await makeUser(owner)
  const dealerId = await makeDealer(owner, userId)
  return { dealerId, token: await api.tokenFor(userId), keys: [], answers: [], made: new Map() }
}

/** Publishes one listing after another, each under one key until it has its id. */
async function publish(client: Client, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const idempotencyKey = randomUUID()
    client.keys.push(idempotencyKey)
    while (!client.made.has(idempotencyKey)) {
      const { status, data } = await createListing(api, client.token, client.dealerId, { idempotencyKey })
      client.answers.push(status)
      if (data?.createListing) client.made.set(idempotencyKey, data.createListing.listing.id)
      else await sleep(100)
    }
  }
}

test('while a synchronous standby is away the backends stay bounded, no publication is acknowledged, and each listing is made once', async () => {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, makeClient))
  let isOver = false
  const load = Promise.all(clients.map(client => publish(client, () => isOver)))
  await until('clients publish', () => clients.every(({ made }) => made.size > 0))
  await standbyAway()
  // a flush that began before may still succeed
  await sleep(500)
  const acknowledged = () => clients.map(({ made }) => made.size)
  const before = acknowledged()
  const counts: number[] = []
  for (let count = 0; count < LOAD_SECONDS * 10; count += 1) {
    counts.push(await backends())
    await sleep(100)
  }
  expect(acknowledged()).toEqual(before)
  await standbyBack()
  const back = acknowledged()
  await until('every client publishes again', () =>
    clients.every(({ made }, index) => made.size > (back[index] ?? 0) + 1),
  )
  isOver = true
  await load
  expect(Math.max(...counts)).toBeLessThanOrEqual(BACKENDS)
  const answers = new Set(clients.flatMap(client => client.answers))
  expect([...answers].filter(status => ![200, 429, 503].includes(status))).toEqual([])
  expect(answers).toContain(503)
  const { rows } = await superuser.query<{ key: string; id: string }>(
    'select idempotency_key as key, id from app_public.listings order by id',
  )
  const made = clients.flatMap(client => [...client.made].map(([key, id]) => ({ key, id })))
  expect(rows).toEqual(made.toSorted((a, b) => (a.id < b.id ? -1 : 1)))
  expect(await brokenRules(owner)).toEqual([])
})

test('a stop waits for the flush of a request that has committed', async () => {
  const stopping = await startApiProcess(server, { DEMO_DATA: '0' })
  const { token, dealerId } = await makeClient()
  try {
    await standbyAway()
    const answer = createListing(stopping, token, dealerId)
    await until('the flush waits for the standby', async () => {
      const { rowCount } = await superuser.query(
        "select from pg_stat_activity where application_name = 'forecourt flush' and wait_event = 'SyncRep'",
      )
      return rowCount === 1
    })
    const stopped = stopping.stop()
    await until('the API accepts no connection', () =>
      fetch(stopping.url).then(
        () => false,
        () => true,
      ),
    )
    await standbyBack()
    expect((await answer).status).toBe(200)
    await stopped
  } finally {
    await standbyBack()
  }
})

test.each([
  [
    'under the settings of a request',
    (pool: pg.Pool, text: string) => runInTransaction(pool, { timezone: 'UTC' }, { text }, true),
  ],
  ['with parameters', (pool: pg.Pool, text: string) => pool.query(`${text} where $1`, [true])],
  ['without parameters', (pool: pg.Pool, text: string) => pool.query(text)],
])(
  'a commit that no standby confirms fails as ambiguous %s, and is there for the retry',
  async (_how, run) => {
    const pool = makePool({
      config: { connectionString: server.ownerUrl },
      name: 'unconfirmed',
      size: 1,
      statementTimeoutMs: 500,
      onError: () => {},
    })
    try {
      await pool.query('drop table if exists public.notes; create table public.notes (note text)')
      await standbyAway()
      const error = await run(pool, "insert into public.notes select 'a'").catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'ETIMEDOUT' })
      expect(toFault(error, { authenticated: true, constraintMessages: new Map() })).toMatchObject({
        code: 'service_unavailable',
        status: 503,
      })
      expect((await superuser.query('select note from public.notes')).rows).toEqual([{ note: 'a' }])
      await standbyBack()
      expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    } finally {
      await standbyBack()
      await pool.end()
    }
  },
)
