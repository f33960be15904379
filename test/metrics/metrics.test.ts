/** `/metrics` of a running server: its counters and labels, and whether documentation, alerts and dashboard match it. */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { makeLog } from '../../src/log.ts'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { EXACT_COUNTING, metric, onlyLimits } from '../support/limits.ts'
import { makeSeller } from '../support/seller.ts'
import { holding, until } from '../support/waits.ts'

let database: TestDatabase
let server: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  // some metrics appear only after their event has happened once
  await database.owner.query('select app_private.check_ledger()')
  await database.owner.query(
    `insert into app_private.job_runs (task, finished_at, backend_pid, backend_started_at)
     values ('expire_subscriptions', clock_timestamp(), 0, clock_timestamp())`,
  )
  const worker = { fault: () => undefined, losses: () => 0 }
  server = await startServer(
    database,
    { ...EXACT_COUNTING, POOL_SIZE: '1', MAX_IN_PROGRESS: '2' },
    makeLog('silent'),
    worker,
  )
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

async function scrape(): Promise<string> {
  return (await fetch(`${server.url}/metrics`)).text()
}

/** Expects each metric to grow by this much while `work` runs. Waits, because some count after the response is sent. */
async function expectGrowth(growth: Record<string, number>, work: () => Promise<unknown>): Promise<void> {
  const names = Object.keys(growth)
  const read = () => Promise.all(names.map(name => metric(server, name)))
  const before = await read()
  await work()
  const reached = async () => {
    const after = await read()
    return Object.fromEntries(names.map((name, index) => [name, (after[index] ?? 0) - (before[index] ?? 0)]))
  }
  const isDone = (by: Record<string, number>) => names.every(name => (by[name] ?? 0) >= (growth[name] ?? 0))
  await until('every metric has grown', async () => isDone(await reached())).catch(() => {})
  expect(await reached()).toEqual(growth)
}

const outcome = (field: string, code: string) => `graphql_operations_total{field="${field}",code="${code}"}`
const requests = (route: string, status: string) =>
  `http_request_duration_seconds_count{route="${route}",status="${status}"}`

const words = (text: string) => new Set(text.match(/[a-z][a-z0-9]*(?:_[a-z0-9]+)+/g))

/** The names of the exposed metrics, without the suffixes of histograms. */
async function exposedMetrics(): Promise<string[]> {
  return [...(await scrape()).matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name)
}

async function documentedMetrics(): Promise<string[]> {
  const page = await readFile('docs/metrics.md', 'utf8')
  return [...page.matchAll(/^\| `([a-z0-9_]+)`/gm)].map(([, name = '']) => name)
}

const isForecourtMetric = (name: string) => !/^(process|nodejs)_/.test(name)

test('every metric is documented, and every documented metric is exposed', async () => {
  expect((await exposedMetrics()).filter(isForecourtMetric).sort()).toEqual(
    (await documentedMetrics()).sort(),
  )
})

test('alerts and dashboard use only exposed metrics, and the dashboard shows every Forecourt metric', async () => {
  const rules = await readFile('ops/prometheus/alerts.yml', 'utf8')
  const dashboard = JSON.parse(await readFile('ops/grafana/forecourt.json', 'utf8')) as {
    panels: { targets?: { expr: string }[] }[]
  }
  const shown = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
  const watched = [...rules.matchAll(/^ +expr: (.*)$/gm)].map(([, expr = '']) => expr)
  const known = await exposedMetrics()
  const used = (expressions: string[]) =>
    [...words(expressions.join('\n').replaceAll(/\{[^{}]*\}|\[[^\]]*\]|\b(by|on) \([^)]*\)/g, ''))]
      .filter(word => !['histogram_quantile'].includes(word))
      .map(word => (known.includes(word) ? word : word.replace(/_(bucket|count|sum)$/, '')))
  expect(used([...shown, ...watched]).filter(name => !known.includes(name))).toEqual([])
  expect(known.filter(isForecourtMetric).filter(name => !used(shown).includes(name))).toEqual([])
})

test('every alert links to an existing heading of the runbook', async () => {
  const rules = await readFile('ops/prometheus/alerts.yml', 'utf8')
  const links = [...rules.matchAll(/runbook_url: (\S+)/g)].map(([, link = '']) => link)
  const anchors = [...(await readFile('docs/operations.md', 'utf8')).matchAll(/^#+ (.*)$/gm)].map(
    ([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^a-z0-9 _-]/g, '')
        .replaceAll(' ', '-'),
  )
  expect(links.length).toBeGreaterThan(10)
  expect(links.filter(link => !anchors.includes(link.split('#')[1] ?? ''))).toEqual([])
})

test('requests are counted by route and status class; an unknown path counts as "other"', async () => {
  await expectGrowth({ [requests('/healthz', '2xx')]: 1, [requests('other', '4xx')]: 2 }, async () => {
    await fetch(`${server.url}/healthz`)
    for (const path of ['/nothing', '/graphql/more']) await fetch(server.url + path)
  })
})

test('a request counts as aborted when its client disconnects', async () => {
  await expectGrowth({ [requests('/graphql', 'aborted')]: 1, [outcome('listings', 'aborted')]: 1 }, () =>
    holding(database, 'lock table app_public.listings in access exclusive mode', [], async () => {
      const leaving = new AbortController()
      const headers = { 'content-type': 'application/json' }
      const body = JSON.stringify({ query: '{ listings { totalCount } }' })
      const aborted = fetch(`${server.url}/graphql`, {
        method: 'POST',
        headers,
        body,
        signal: leaving.signal,
      })
      await until('the request waits', async () => (await metric(server, 'admission_in_progress')) === 1)
      leaving.abort()
      await expect(aborted).rejects.toThrow()
    }),
  )
})

test('operations are counted by their root field and the code of the first error', async () => {
  const growth = {
    [outcome('dealerPackages', 'ok')]: 2,
    [outcome('listing', 'not_found')]: 1,
    [outcome('several', 'ok')]: 1,
    [outcome('createDealer', 'unauthenticated')]: 1,
    [outcome('other', 'invalid_input')]: 3,
    [requests('/graphql', '4xx')]: 5,
  }
  await expectGrowth(growth, async () => {
    await server.call('{ dealerPackages { totalCount } }')
    await server.call('query Mine { a: dealerPackages { totalCount } b: dealerPackages { totalCount } }')
    await server.call('{ listing(id: "00000000-0000-7000-8000-000000000000") { id } }')
    await server.call('{ dealerPackages { totalCount } listings { totalCount } }')
    const token = 'garbage'
    await server.call('mutation { createDealer(input: {}) { dealer { id } } }', { token })
    await server.call('{ chosenByTheClient }')
    await server.call('{')
    await fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '[',
    })
  })
  expect(await scrape()).not.toMatch(/chosenByTheClient|Mine/)
})

test('a request that a limit refuses is counted under its root field', async () => {
  const limited = { database, servers: [server] }
  await onlyLimits(limited, { pricing_quote: { max: 1 } })
  const quote = () => server.call(`{ quoteListing(dealerId: "${randomUUID()}") { source } }`)
  await quote()
  await expectGrowth({ [outcome('quoteListing', 'rate_limit_exceeded')]: 1 }, quote)
  await onlyLimits(limited, {})
})

test('publications are counted by source, and a repeated request does not count', async () => {
  const { token, dealerId } = await makeSeller(database, server, { freeListings: 1 })
  const idempotencyKey = randomUUID()
  const source = (name: string) => `publications_total{source="${name}"}`
  await expectGrowth({ [source('free_quota')]: 1, [source('paid_extra')]: 1 }, async () => {
    for (let time = 0; time < 3; time += 1) await createListing(server, token, dealerId, { idempotencyKey })
    await createListing(server, token, dealerId)
  })
})

test('a request that waits for a connection shows as waiting, and its wait is added to the duration metric', async () => {
  const waiting = () => metric(server, 'database_pool_waiting{pool="api"}')
  const seconds = () => metric(server, 'database_pool_acquire_duration_seconds_sum{pool="api"}')
  const before = await seconds()
  const { token } = await makeSeller(database, server)
  await holding(database, 'lock table app_public.listings in access exclusive mode', [], async release => {
    // of two senders, because one sender's requests would wait for a slot
    const both = [{ token }, {}].map(from => server.call('{ listings { totalCount } }', from))
    await until('one request waits', async () => (await waiting()) > 0)
    expect(await metric(server, 'database_pool_connections{pool="api",state="active"}')).toBe(1)
    await sleep(200)
    await release()
    await Promise.all(both)
  })
  expect([await waiting(), (await seconds()) - before > 0.2]).toEqual([0, true])
})

test('the build metric has the version of Forecourt and of Node', async () => {
  const { version } = JSON.parse(await readFile('package.json', 'utf8'))
  expect(
    await metric(server, `forecourt_build_info{version="${version}",node="${process.versions.node}"}`),
  ).toBe(1)
})
