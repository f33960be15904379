/** Test helpers for rate limits: two processes on one database, policies that are loaded before the test goes on, raw requests. */
import { randomUUID } from 'node:crypto'
import { expect } from '@jest/globals'
import { startApiProcess } from './apiProcess.ts'
import type { ApiResponse, TestServer } from './apiServer.ts'
import { cloneDatabase, type TestDatabase } from './database.ts'
import { type RecordedLog, recordLog } from './recordedLog.ts'
import { until } from './waits.ts'

export type Limited = {
  database: TestDatabase
  servers: [TestServer, TestServer]
  log: RecordedLog
  stop(): Promise<void>
}

/** Makes the API trust the test as its proxy. */
export const behindProxy = { TRUST_PROXY: '127.0.0.1' }

/**
 * For tests that expect exact counts. A charge that misses the deadline falls to the counters of its process, so the default
 * deadline of 75 ms makes such a test fail on a busy machine.
 */
export const EXACT_COUNTING = { LIMITER_DEADLINE_MS: '30000' }

export async function startLimited(env: Record<string, string> = {}): Promise<Limited> {
  const database = await cloneDatabase()
  const log = recordLog()
  const start = () => startApiProcess(database, { ...EXACT_COUNTING, ...env }, log)
  const servers = await Promise.all([start(), start()])
  return {
    database,
    servers,
    log,
    async stop() {
      for (const server of servers) await server.stop()
      await database.drop()
    },
  }
}

/** Fails unless a time of a response, in Unix seconds, lies between `since` and now. Both are rounded to a second. */
export function expectMoment(moment: number, since: number): void {
  expect(moment).toBeGreaterThanOrEqual(Math.floor(since))
  expect(moment).toBeLessThanOrEqual(Math.ceil(Date.now() / 1000) + 1)
}

export type Change = { max?: number; window?: number; mode?: 'enforce' | 'shadow' | 'off' }

type LimitedServers = { database: TestDatabase; servers: readonly TestServer[] }

/** Switches every other limit off, deletes all counters, and returns once every server has loaded the policies. */
export async function onlyLimits(
  { database, servers }: LimitedServers,
  limits: Record<string, Change>,
): Promise<void> {
  await database.superuser.query('truncate app_private.rate_limit_counters')
  await untilLoaded(servers, () => setLimits(database, limits))
}

/** Sets the clock of every counter forward. The servers also forget the refusals that they have cached. */
export async function passSeconds({ database, servers }: LimitedServers, seconds: number): Promise<void> {
  await database.superuser.query('update app_private.rate_limit_counters set ends_at = ends_at - $1', [
    seconds,
  ])
  await untilLoaded(servers, () => database.owner.query(TOUCH_POLICIES))
}

/** Changes a policy that is off. Each call gives another value, so that the servers load the policies again. */
const TOUCH_POLICIES =
  "update app_public.rate_limit_policies set window_seconds = 1 + (window_seconds + 1) % 999 where scope = 'checkout_init' and mode = 'off'"

/** Runs `change`, and returns once every server has loaded the policies again. */
async function untilLoaded(servers: readonly TestServer[], change: () => Promise<unknown>): Promise<void> {
  const before = await Promise.all(servers.map(configVersion))
  await change()
  await until('every server has loaded the policies', async () => {
    const versions = await Promise.all(servers.map(configVersion))
    return versions.every((version, index) => version > (before[index] ?? 0))
  })
}

async function setLimits(database: TestDatabase, limits: Record<string, Change>): Promise<void> {
  const client = await database.owner.connect()
  try {
    await client.query('begin')
    await client.query("update app_public.rate_limit_policies set mode = 'off' where scope <> 'auth_account'")
    for (const [scope, { max = null, window = null, mode = 'enforce' }] of Object.entries(limits)) {
      await client.query(
        `update app_public.rate_limit_policies
         set max_count = coalesce($2, max_count), window_seconds = coalesce($3, window_seconds), mode = $4
         where scope = $1`,
        [scope, max, window, mode],
      )
    }
    // the limits may be the same as before
    await client.query(TOUCH_POLICIES)
    await client.query('commit')
  } finally {
    client.release()
  }
}

export function configVersion(server: TestServer): Promise<number> {
  return metric(server, 'rate_limit_config_version')
}

/** The value of a metric with its labels, as `name{a="b"}`; 0 if it is not in the response. */
export async function metric(server: Pick<TestServer, 'url'>, name: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  const line = text.split('\n').find(one => one.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1) ?? 0)
}

export type Raw = { method?: string; type?: string; headers?: Record<string, string>; path?: string }

/** Sends a body unchanged. */
export async function sendRaw(
  server: TestServer,
  body: string | Uint8Array<ArrayBuffer> | undefined,
  options: Raw = {},
): Promise<ApiResponse<Record<string, unknown>>> {
  const { method = 'POST', type = 'application/json', headers = {}, path = '/graphql' } = options
  const response = await fetch(server.url + path, {
    method,
    headers: { 'content-type': type, ...headers },
    ...(body === undefined ? {} : { body }),
  })
  const text = await response.text()
  const { data, errors = [] } = JSON.parse(text)
  return { status: response.status, headers: response.headers, text, data, errors }
}

/** The header `X-RateLimit-Remaining`; undefined if no limit applies. */
export function remaining({ headers }: Pick<ApiResponse<unknown>, 'headers'>): number | undefined {
  const value = headers.get('x-ratelimit-remaining')
  return value === null ? undefined : Number(value)
}

/** The status, and the code of the first error: `429 rate_limit_exceeded`. */
export function outcomeOf({ status, errors }: ApiResponse<unknown>): string {
  return [status, errors[0]?.extensions.code].filter(Boolean).join(' ')
}

/** The scope of the limit that refused the request; undefined if none did. */
export function refusedBy({ errors }: ApiResponse<unknown>): unknown {
  const refusal = errors.find(({ extensions }) => extensions.code === 'rate_limit_exceeded')
  return refusal?.extensions.detail?.scope
}

/** `times` root fields that ask for the price of a listing, each for a dealer that does not exist. */
export function quotes(times: number, from = 1): string {
  const quote = (number: number) => `q${number}: quoteListing(dealerId: "${randomUUID()}") { source }`
  return Array.from({ length: times }, (_, index) => quote(from + index)).join(' ')
}
