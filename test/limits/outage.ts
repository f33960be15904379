/** Test helpers for a database that fails while two processes count in it. Without it, each process allows half of a limit. */
import { createHmac } from 'node:crypto'
import { expect } from '@jest/globals'
import pg from 'pg'
import { compositeKey } from '../../src/request/compositeKey.ts'
import { derivedKey } from '../../src/request/derivedKey.ts'
import { startApiProcess } from '../support/apiProcess.ts'
import { type ApiResponse, jwtSecret, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { countResponses } from '../support/graphqlOperations.ts'
import { metric as readMetric } from '../support/limits.ts'
import { startRelay } from '../support/relay.ts'
import { until } from '../support/waits.ts'

/**
 * A response takes some milliseconds, or the deadline of the limiter. A request that waited for the database instead would take
 * 3 s (query_timeout) or 5 s (connectionTimeoutMillis).
 */
export const RESPONSE_MS = 2_500
/** The client of the requests that wait for a state. The client of the test is then charged for its own requests only. */
export const PROBE = 0

/** The limit public_read: 6 requests for both processes, 3 for each while the shared counters are out of reach. */
export type Outage = Awaited<ReturnType<typeof startOutage>>

export async function startOutage(deadlineMs: string) {
  const database = await cloneDatabase()
  const relay = await startRelay(database.ownerUrl)
  const env = { INSTANCES: '2', TRUST_PROXY: '127.0.0.1', LIMITER_DEADLINE_MS: deadlineMs }
  const behindRelay = { ...database, ownerUrl: relay.url }
  const servers = await Promise.all([startApiProcess(behindRelay, env), startApiProcess(behindRelay, env)])
  const clients = makeClients(servers)
  const metric = (name: string, number = 0) => readMetric(servers[number] as TestServer, name)
  const outage = {
    ...clients,
    ...inDatabase(database),
    database,
    relay,
    /** Charges of the first server that failed for this reason. */
    errors: (reason: string) => metric(`rate_limit_backend_errors_total{reason="${reason}"}`),
    breakerOpen: (number = 0) => metric('rate_limit_breaker_open', number),
    /** Changes a policy, and returns once both servers have loaded it. */
    async change(set: string, scope: string): Promise<void> {
      const versions = () => Promise.all([0, 1].map(number => metric('rate_limit_config_version', number)))
      const before = await versions()
      await database.owner.query(`update app_public.rate_limit_policies set ${set} where scope = $1`, [scope])
      await until('both servers have loaded the policy', async () => {
        const after = await versions()
        return after.every((version, index) => version > (before[index] ?? 0))
      })
    },
    /** Returns once both servers use the shared counters again. Returns the client that was charged four times. */
    async recovered(): Promise<number> {
      await until('both servers use the shared counters', async () => {
        clients.nextClient()
        const left: (string | null)[] = []
        for (const number of [0, 1, 0, 1]) {
          const { headers } = await clients.read(clients.client(number))
          left.push(headers.get('x-ratelimit-remaining'))
        }
        return left.join() === '5,4,3,2'
      })
      expect([await outage.breakerOpen(0), await outage.breakerOpen(1)]).toEqual([0, 0])
      const charged = clients.current()
      clients.nextClient()
      return charged
    },
    /** Sends requests until the breaker of the first server is open. */
    async breakerOpens(): Promise<void> {
      await until('the breaker opens', async () => {
        expect((await clients.read(clients.client(0, PROBE))).took).toBeLessThan(RESPONSE_MS)
        return (await outage.breakerOpen()) === 1
      })
    },
    async stop(): Promise<void> {
      for (const server of servers) await server.stop()
      await relay.cut()
      await database.drop()
    },
  }
  await outage.change("max_count = 6, mode = 'enforce'", 'public_read')
  return outage
}

const addressOf = (number: number) => `198.18.${number >> 8}.${number & 255}`

/** Clients behind a trusted proxy, each with an address and so a counter of its own. */
function makeClients(servers: TestServer[]) {
  let last = PROBE
  /** A server as the client of the test sees it. */
  function client(number = 0, address = last): TestServer {
    const server = servers[number] as TestServer
    const headers = { 'x-forwarded-for': addressOf(address) }
    return { ...server, call: (query, options) => server.call(query, { headers, ...options }) }
  }
  /** Sends an operation for which only the limiter needs the database, and measures the time of its response. */
  async function read(server = client()): Promise<ApiResponse<unknown> & { took: number }> {
    const start = performance.now()
    const response = await server.call('{ __typename }')
    return { ...response, took: performance.now() - start }
  }
  /** Sends requests one after another. Fails if one waits for the database. Returns their outcomes. */
  async function attack(times: number, server = client()): Promise<Record<string, number>> {
    const responses = []
    for (let time = 0; time < times; time++) {
      const response = await read(server)
      expect(response.took).toBeLessThan(RESPONSE_MS)
      responses.push(response)
    }
    return countResponses(responses)
  }
  const nextClient = () => {
    last++
  }
  return { client, read, attack, nextClient, current: () => last }
}

/** Reads and changes the database without the relay. */
function inDatabase(database: TestDatabase) {
  return {
    /** The charges of a client in the shared counter. */
    async counted(client: number): Promise<number> {
      const text = compositeKey('public_read', `ip:${addressOf(client)}`)
      const key = createHmac('sha256', derivedKey(jwtSecret, 'rate limit')).update(text).digest()
      const { rows } = await database.superuser.query(
        'select current::integer from app_private.rate_limit_counters where key = $1',
        [key],
      )
      return rows[0]?.current ?? 0
    },
    async limiterConnections(waitingFor?: string): Promise<number> {
      const { rows } = await database.superuser.query(
        `select count(*)::integer as count from pg_stat_activity
         where datname = current_database() and application_name = 'forecourt limits'
           and ($1::text is null or wait_event_type = $1)`,
        [waitingFor],
      )
      return rows[0].count
    },
    /** Runs statements on a connection to another database. */
    async fromOutside(...statements: string[]): Promise<void> {
      const outside = new pg.Client({ connectionString: process.env.TEST_SUPERUSER_URL as string })
      await outside.connect()
      for (const sql of statements) await outside.query(sql)
      await outside.end()
    },
    /** A statement that ends the connections with this name. */
    endConnections: (names: string) =>
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = '${database.name}' and application_name like '${names}'`,
  }
}
