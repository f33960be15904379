/** Crashes of the database server under load: no client has the id of a listing that is not there. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { makeFlush, runDurably } from '../../src/database/durability.ts'
import { migrate } from '../../src/database/migrate.ts'
import { makePool } from '../../src/database/pool.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'
import { startApiProcess } from '../support/apiProcess.ts'
import { createListing, type TestServer } from '../support/apiServer.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeCountry, makeDealer, makeUser } from '../support/testData.ts'
import { until } from '../support/waits.ts'

const CLIENTS = 16
/** Clients of one dealer: their publications wait for each other, so some have committed while others hold the lock. */
const CLIENTS_PER_DEALER = 4

const directory = mkdtempSync(join(tmpdir(), 'forecourt-crash-'))
/** As with `npm start`: the files are synchronised, and nothing but a flush writes the log. */
const SETTINGS = { wal_writer_delay: '10s' }
let server: EmbeddedServer
let owner: pg.Pool
let api: TestServer

beforeAll(async () => {
  server = await startEmbedded({ directory, settings: SETTINGS, log: () => {} })
  await migrate({ databaseUrl: server.ownerUrl, log: () => {} })
  owner = new pg.Pool({ connectionString: server.ownerUrl })
  owner.on('error', () => {})
  await makeCountry(owner)
  await owner.query("update app_public.rate_limit_policies set mode = 'off'")
  api = await startApiProcess(server, { DEMO_DATA: '0' })
})

afterAll(async () => {
  await api?.stop()
  await owner?.end()
  await server?.stop()
  rmSync(directory, { recursive: true })
})

function poolOf(): pg.Pool {
  return makePool({
    config: { connectionString: server.ownerUrl },
    name: 'crash',
    size: 2,
    statementTimeoutMs: 10_000,
    onError: () => {},
  })
}

function postmaster(): number {
  return Number(readFileSync(join(directory, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0])
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter(pid => pid > 0 && parentOf(pid) === parent)
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1])
  } catch {
    return undefined // it has ended
  }
}

/** The memory of the server is lost. The embedded server is started again. */
function killServer(): void {
  const parent = postmaster()
  for (const pid of [parent, ...childrenOf(parent)]) kill(pid)
}

/** The postmaster lives on, but it ends all other backends and makes the shared memory again. */
async function killBackend(): Promise<void> {
  const { rows } = await owner.query('select pg_backend_pid() as pid')
  kill(rows[0].pid)
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ESRCH') throw error
  }
}

/** Also renews the idle connections of `owner`, which the crash has closed. */
async function untilBack(): Promise<void> {
  await until('the server is back', () =>
    owner.query('select').then(
      () => true,
      () => false,
    ),
  )
}

/** Publishes until `stop`, and keeps the ids that clients have received. */
async function startLoad() {
  const received: string[] = []
  const statuses = new Set<number>()
  let isOver = false
  const dealers = await Promise.all(
    Array.from({ length: CLIENTS / CLIENTS_PER_DEALER }, async () => {
      const userId = await makeUser(owner)
      return { dealerId: await makeDealer(owner, userId), token: await api.tokenFor(userId) }
    }),
  )
  const client = async ({ dealerId, token }: { dealerId: string; token: string }) => {
    while (!isOver) {
      const { status, data } = await createListing(api, token, dealerId)
      statuses.add(status)
      if (data?.createListing) received.push(data.createListing.listing.id)
      else await sleep(50)
    }
  }
  const clients = Array.from({ length: CLIENTS }, (_, index) =>
    client(dealers[index % dealers.length] as (typeof dealers)[number]),
  )
  return {
    received,
    async stop() {
      isOver = true
      await Promise.all(clients)
      return statuses
    },
  }
}

async function publishFurther({ received }: { received: string[] }): Promise<void> {
  const before = received.length
  await until('clients publish', () => received.length > before + 150, 120)
}

test('a flush after a crash does not acknowledge a commit before it, also when its connection hides the crash', async () => {
  const pool = poolOf()
  try {
    await pool.query('create table public.notes (id integer primary key)')
    // as a pooler does: the flush waits until the server is back, and runs on a new connection
    let reported: unknown
    const late = async (run: unknown) => {
      reported = run
      await killBackend()
      await untilBack()
      return makeFlush(pool, false)(run)
    }
    const text = 'insert into public.notes values (1)'
    const answer = runDurably({ pool, flush: late, keepPlan: false }, { timezone: 'UTC' }, { text })
    await expect(answer).rejects.toMatchObject({ code: 'ETIMEDOUT' })
    expect((await owner.query('select from public.notes')).rowCount).toBe(0)
    expect(reported).toMatch(/^[\d.]+ [\d.]+$/)
  } finally {
    await pool.end()
  }
})

test.each([
  ['a backend is killed, three times', killBackend, 3],
  ['the whole server is killed', killServer, 1],
])('no acknowledged publication is lost when %s under load', async (_what, crash, times) => {
  await untilBack()
  const load = await startLoad()
  for (let count = 0; count < times; count += 1) {
    await publishFurther(load)
    await crash()
  }
  await publishFurther(load)
  const statuses = await load.stop()
  expect([...statuses].filter(status => status !== 200 && status !== 503)).toEqual([])
  expect(statuses).toContain(503)
  const { rows } = await owner.query<{ id: string }>('select id from app_public.listings')
  const ids = new Set(rows.map(({ id }) => id))
  expect(load.received.filter(id => !ids.has(id))).toEqual([])
  expect(await brokenRules(owner)).toEqual([])
})
