/** Starts the servers that are compared: Forecourt as in production, and the reference servers. Each is a process. */
import { argumentsOf } from '../../scripts/support/commands.ts'
import { readConfiguration } from '../../src/configuration.ts'
import { CONNECTIONS } from '../../src/database/pool.ts'
import { type Cluster, type Database, jwtSecret, outputFile } from './cluster.ts'
import { memberOf } from './memory.ts'
import { type Running, startProcess } from './processes.ts'

export type Server = Running & { url: string }

const GREETING = /GraphQL API +(http\S+)\/graphql[\s\S]*Stop {2}/
const LISTENING = /^listening on (http\S+)$/m
/** A reference server commits on its pool: it has as many connections as the API has for statements and flushes together. */
const REFERENCE_POOL_SIZE = readConfiguration({}).poolSize + CONNECTIONS.flush

function environment({ ownerUrl }: Database): Record<string, string> {
  return {
    NODE_ENV: 'production',
    DATABASE_URL: ownerUrl,
    JWT_SECRET: jwtSecret,
    PORT: '0',
    METRICS_PORT: '0',
  }
}

/** `npm run api` in production, without npm. */
export async function startApi(
  cluster: Cluster,
  database: Database,
  settings: Record<string, string> = {},
): Promise<Server> {
  const running = await startProcess({
    command: ['node', ...argumentsOf('api')],
    env: { ...environment(database), ...settings },
    ready: GREETING,
    output: outputFile(cluster, 'api'),
  })
  return { ...running, url: running.found }
}

/** `npm run api` of the project in another directory. */
export async function startApiOf(project: string, cluster: Cluster, database: Database): Promise<Server> {
  const running = await startProcess({
    command: ['npm', 'run', 'api'],
    cwd: project,
    env: environment(database),
    ready: GREETING,
    output: outputFile(cluster, 'api'),
  })
  return { ...running, pid: memberOf(running.pid, 'src/main.ts'), url: running.found }
}

export function startWorker(cluster: Cluster, database: Database): Promise<Running> {
  return startProcess({
    command: ['node', ...argumentsOf('worker')],
    env: environment(database),
    ready: /Worker connected/,
    output: outputFile(cluster, 'worker'),
  })
}

/** A reference server: `bench/bare` or `bench/peer`. */
export async function startReference(
  cluster: Cluster,
  database: Database,
  which: 'bare' | 'peer',
): Promise<Server> {
  const running = await startProcess({
    command: ['node', `bench/${which}/${which}Server.ts`],
    env: { ...environment(database), POOL_SIZE: String(REFERENCE_POOL_SIZE) },
    ready: LISTENING,
    output: outputFile(cluster, which),
  })
  return { ...running, url: running.found }
}

/** Returns the data of a response. Throws if the request failed. */
export async function ask<Data>(
  server: Server,
  path: string,
  token: string | undefined,
  body: string,
): Promise<Data> {
  const headers = {
    'content-type': 'application/json',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  }
  const response = await fetch(server.url + path, { method: 'POST', headers, body })
  const text = await response.text()
  const answer = JSON.parse(text)
  if (response.status !== 200 || answer.errors !== undefined) throw new Error(`${path} returned ${text}`)
  return answer.data
}
