/** Limits for tests: two processes on one database, policies that take effect before the test goes on, raw requests. */
import { randomUUID } from 'node:crypto'
import { startApiProcess } from './apiProcess.ts'
import type { Answer, TestServer } from './apiServer.ts'
import { cloneDatabase, type TestDatabase } from './database.ts'
import { type RecordedLog, recordLog } from './recordedLog.ts'
import { until } from './waits.ts'

export type Limited = {
  database: TestDatabase
  servers: [TestServer, TestServer]
  log: RecordedLog
  stop(): Promise<void>
}

/** The address by which the proxy of these tests, which is the test itself, is trusted. */
export const behindProxy = { TRUST_PROXY: '127.0.0.1' }

/** Counting is exact while the database answers in time: where that is tested, a busy machine has all the time it needs. */
const patient = { LIMITER_DEADLINE_MS: '30000' }

export async function startLimited(env: Record<string, string> = {}): Promise<Limited> {
  const database = await cloneDatabase()
  const log = recordLog()
  const start = () => startApiProcess(database, { ...patient, ...env }, log)
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

export type Change = { max?: number; window?: number; mode?: 'enforce' | 'shadow' | 'off' }

/** Makes these limits the only ones, with nothing counted yet; comes back once both processes have loaded them. */
export async function onlyLimits(
  { database, servers }: { database: TestDatabase; servers: readonly TestServer[] },
  limits: Record<string, Change>,
): Promise<void> {
  await database.superuser.query('truncate app_private.rate_limit_counters')
  const before = await Promise.all(servers.map(configVersion))
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
    // differs each time, so that the servers see a change even where the limits are the same
    await client.query(
      "update app_public.rate_limit_policies set window_seconds = 1 + (window_seconds + 1) % 999 where scope = 'checkout_init' and mode = 'off'",
    )
    await client.query('commit')
  } finally {
    client.release()
  }
  await until('both servers have loaded the limits', async () => {
    const versions = await Promise.all(servers.map(configVersion))
    return versions.every((version, index) => version > (before[index] ?? 0))
  })
}

export function configVersion(server: TestServer): Promise<number> {
  return metric(server, 'rate_limit_config_version')
}

/** The value of a metric with these labels, as `name{a="b"}`; 0 where it was never counted. */
export async function metric(server: Pick<TestServer, 'url'>, name: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  const line = text.split('\n').find(one => one.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1) ?? 0)
}

export type Raw = { method?: string; type?: string; headers?: Record<string, string>; path?: string }

/** Sends a body as it is. */
export async function sendRaw(
  server: TestServer,
  body: string | Uint8Array<ArrayBuffer> | undefined,
  options: Raw = {},
): Promise<Answer<Record<string, unknown>>> {
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

/** `60` of `X-RateLimit-Remaining`; undefined where nothing limits. */
export function remaining({ headers }: Pick<Answer<unknown>, 'headers'>): number | undefined {
  const value = headers.get('x-ratelimit-remaining')
  return value === null ? undefined : Number(value)
}

/** Status and code of the first error. */
export function told({ status, errors }: Answer<unknown>): string {
  return [status, errors[0]?.extensions.code].filter(Boolean).join(' ')
}

/** The scope by which an answer is refused; undefined where no limit refuses. */
export function refusedBy({ errors }: Answer<unknown>): unknown {
  const refusal = errors.find(({ extensions }) => extensions.code === 'rate_limit_exceeded')
  return refusal?.extensions.detail?.scope
}

/** Root fields of a query for a price, `times` times, that ask for a dealer that nobody has. */
export function quotes(times: number, from = 1): string {
  const quote = (number: number) => `q${number}: quoteListing(dealerId: "${randomUUID()}") { source }`
  return Array.from({ length: times }, (_, index) => quote(from + index)).join(' ')
}
