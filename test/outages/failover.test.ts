/** A failover to a real standby: an address that leads to the standby, and a primary that goes silent before the standby is promoted. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { migrate } from '../../src/database/migrate.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'
import { clientOf, createListing, type TestServer } from '../support/apiServer.ts'
import { killLeftOvers, type Running, startOn, untilReady } from '../support/commandProcess.ts'
import { type Relay, startRelay } from '../support/relay.ts'
import { type Standby, startStandby } from '../support/standby.ts'
import { makeCountry, makeDealer, makeUser } from '../support/testData.ts'
import { until } from '../support/waits.ts'

const SETTINGS = { fsync: 'off', max_connections: '100', wal_keep_size: '256MB' }

const home = mkdtempSync(join(tmpdir(), 'forecourt-failover-'))
const pools: pg.Pool[] = []

let primary: EmbeddedServer
let standby: Standby
/** The address of the database for the API and the worker. */
let relay: Relay
let running: Running
let api: Omit<TestServer, 'stop'>
let token: string
let dealerId: string

beforeAll(async () => {
  chmodSync(home, 0o755)
  primary = await startEmbedded({ directory: join(home, 'primary'), settings: SETTINGS, log: () => {} })
  await migrate({ databaseUrl: primary.ownerUrl, includeCurrent: true, log: () => {} })
  standby = await startStandby(primary, join(home, 'primary'), join(home, 'standby'), SETTINGS)
  relay = await startRelay(primary.ownerUrl)
  const owner = poolOf(primary.ownerUrl)
  await makeCountry(owner)
  const userId = await makeUser(owner)
  dealerId = await makeDealer(owner, userId)
  running = startOn({ ownerUrl: relay.url }, 'api')
  api = clientOf(await untilReady(running))
  token = await api.tokenFor(userId)
})

afterAll(async () => {
  await killLeftOvers()
  await relay?.cut()
  for (const pool of pools) await pool.end()
  await standby?.kill()
  await primary?.stop()
  rmSync(home, { recursive: true })
})

function poolOf(connectionString: string): pg.Pool {
  const pool = new pg.Pool({ connectionString })
  pool.on('error', () => {})
  pools.push(pool)
  return pool
}

async function readiness(): Promise<[number, string | undefined]> {
  const response = await fetch(`${api.url}/readyz`)
  const { reason } = (await response.json()) as { reason?: string }
  return [response.status, reason]
}

const publish = async () => {
  const { status, errors } = await createListing(api as TestServer, token, dealerId)
  return [status, errors[0]?.extensions.code]
}

/** Every connection of the API breaks, and the next ones lead to the standby. */
async function leadToStandby(): Promise<void> {
  await relay.cut()
  relay.leadTo(standby.ownerUrl)
  await relay.restore()
  await until('the API says that it uses a standby', async () => {
    const [status, reason = ''] = await readiness()
    return status === 503 && reason.includes('standby')
  })
}

test('an API whose address leads to a standby is not ready, and is ready again although its connections stay open', async () => {
  expect(await readiness()).toEqual([200, undefined])
  await leadToStandby()
  relay.leadTo(primary.ownerUrl)
  await until('the API is ready', async () => (await readiness())[0] === 200)
})

test('a write on a standby is 503, and the connection that answered 25006 is not used again', async () => {
  await leadToStandby()
  expect(await publish()).toEqual([503, 'service_unavailable'])
  relay.leadTo(primary.ownerUrl)
  await until('a write succeeds', async () => (await publish())[0] === 200)
})

/** Jobs that the server has, as its owner sees them. */
async function countJobs(on: pg.Pool): Promise<number> {
  const { rows } = await on.query('select count(*)::integer as count from graphile_worker.jobs')
  return rows[0].count
}

const addJob = (on: pg.Pool) => on.query("select graphile_worker.add_job('remove_old_alerts')")

test('API and worker use the promoted standby after the primary has gone silent during a job, and both stop in order', async () => {
  const before = poolOf(primary.ownerUrl)
  const worker = startOn({ ownerUrl: relay.url }, 'worker')
  await addJob(before)
  await until('the worker works', async () => (await countJobs(before)) === 0, 120)
  // ends with the primary
  const holder = new pg.Client({ connectionString: primary.ownerUrl }).on('error', () => {})
  await holder.connect()
  await holder.query('begin; lock table app_private.alerts in access exclusive mode')
  await addJob(before)
  const after = poolOf(standby.ownerUrl)
  await until('the standby knows that the job runs', async () => {
    const { rows } = await after.query('select from graphile_worker.jobs where locked_at is not null')
    return rows.length === 1
  })
  relay.stall()
  relay.leadTo(standby.ownerUrl)
  await standby.promote()
  await addJob(after)
  await until('the API publishes', async () => (await publish())[0] === 200)
  expect((await readiness())[0]).toBe(200)
  await until('the interrupted job and the new one are done', async () => (await countJobs(after)) === 0)
  worker.child.kill('SIGTERM')
  running.child.kill('SIGTERM')
  expect([await worker.ended, await running.ended]).toEqual([0, 0])
})
