/**
 * A deployment under load, as docs/operations.md describes it: an additive migration while two APIs serve requests, and then one
 * API after the other is replaced by the new build.
 */
import { randomUUID } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { hashOf } from '../../scripts/checks/migrations.ts'
import { projectDirectory } from '../../scripts/support/commands.ts'
import { expectedMigrations } from '../../src/database/migrations.ts'
import { copyProject, type ProjectCopy } from '../scripts/projectCopy.ts'
import { clientOf, createListing, jwtSecret, type TestServer } from '../support/apiServer.ts'
import { killLeftOvers, type Running, start, untilReady } from '../support/commandProcess.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeSeller } from '../support/seller.ts'
import { type Load, startLoad, type Work } from './load.ts'

type Api = TestServer & { running: Running }

let database: TestDatabase
/** The next build: this one and one more migration. */
let next: ProjectCopy
/** The APIs that the load balancer of the test knows. */
let apis: Api[]

beforeAll(async () => {
  database = await cloneDatabase()
  // as after a release: until then package.json has the version of the last one
  const { version } = JSON.parse(await readFile('package.json', 'utf8'))
  await database.owner.query(
    `create or replace function app_public.oldest_release() returns text language sql return '${version}'`,
  )
  next = copyProject()
  await writeNextMigration()
  apis = await Promise.all([startApi(projectDirectory), startApi(projectDirectory)])
})

afterAll(async () => {
  await killLeftOvers()
  next.remove()
  await database.drop()
})

/** A column more in the row that create_listing returns, and the function made again. */
async function writeNextMigration(): Promise<void> {
  const previous = (await expectedMigrations()).at(-1)?.hash ?? ''
  const body = `
set local lock_timeout to '2s';
set local statement_timeout to '60s';
alter table app_public.listings add column if not exists note text;
${await readFile('migrations/fixtures/listing/create_listing.sql', 'utf8')}`
  const head = `--! Previous: ${previous}\n--! Hash: ${hashOf(body, previous)}\n--! Message: note\n`
  await writeFile(join(next.directory, 'migrations/committed/999999-note.sql'), `${head}${body}`)
}

const env = () => ({ DATABASE_URL: database.ownerUrl, JWT_SECRET: jwtSecret })

async function startApi(directory: string): Promise<Api> {
  const running = start('api', env(), directory)
  const stop = async () => {
    running.child.kill('SIGTERM')
    expect(await running.ended).toBe(0)
  }
  return { ...clientOf(await untilReady(running)), running, stop }
}

function clientsOf(token: string, dealerId: string): (() => Work)[] {
  const publish = () => {
    const idempotencyKey = randomUUID()
    return (api: TestServer) => createListing(api, token, dealerId, { idempotencyKey })
  }
  const read = () => (api: TestServer) => api.call('{ listings(first: 5) { totalCount nodes { id title } } }')
  return [publish, publish, read, read]
}

/** Asks every API for its readiness again and again. Counts the moments in which none was ready. */
function watchReadiness() {
  let isOver = false
  const moments = { all: 0, withoutApi: 0 }
  const isReady = async ({ url }: Api) =>
    (await fetch(`${url}/readyz`).catch(() => undefined))?.status === 200
  const watched = (async () => {
    while (!isOver) {
      const ready = await Promise.all([...apis].map(isReady))
      moments.all += 1
      if (!ready.includes(true)) moments.withoutApi += 1
      await sleep(20)
    }
  })()
  return {
    moments,
    async stop() {
      isOver = true
      await watched
    },
  }
}

async function deploy(load: Load): Promise<void> {
  await load.further()
  const migration = start('migrate', env(), next.directory)
  if ((await migration.ended) !== 0) throw new Error(migration.output())
  await load.further()
  for (const old of [...apis]) {
    apis.push(await startApi(next.directory))
    await old.stop()
    apis = apis.filter(api => api !== old)
    await load.further()
  }
}

test('an additive migration and the replacement of each API cause no 5xx, and an API is always ready', async () => {
  const { token, dealerId } = await makeSeller(database, apis[0] as Api)
  const load = startLoad(() => apis, clientsOf(token, dealerId))
  const readiness = watchReadiness()
  try {
    await deploy(load)
  } finally {
    await Promise.all([load.stop(), readiness.stop()])
  }
  const { all, withoutApi } = readiness.moments
  expect([...new Set(load.answers)]).toEqual(['200'])
  expect([all > 20, withoutApi]).toEqual([true, 0])
  const { rows } = await database.superuser.query('select note from app_public.listings limit 1')
  expect(rows).toEqual([{ note: null }])
  for (const api of apis) await api.stop()
})
