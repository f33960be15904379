/** Reads the configuration, starts the roles that were asked for, and stops them in order. */
import './graphileEnvironment.ts'
import { fileURLToPath } from 'node:url'
import type { Api } from './api.ts'
import { type Configuration, type Roles, readConfiguration, temporarySecret } from './configuration.ts'
import { demoAccounts, demoPassword, makeDemoData } from './demo/demo.ts'
import { type Logger, makeLog } from './log.ts'

const dataDirectory = fileURLToPath(new URL('../.data', import.meta.url))
const USAGE = 'Usage: npm start | npm run api | npm run worker | npm run migrate'
/** A terminal sends Ctrl-C to npm and to us, and npm passes it on: what comes this soon is the same one. */
const SAME_SIGNAL_MS = 1_000

type Stop = { what: string; stop: () => Promise<void> }

const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EHOSTUNREACH'])

/** What has been started, to be stopped in reverse. */
const started: Stop[] = []

async function main(): Promise<void> {
  const command = process.argv[2] ?? 'all'
  const roles: Record<string, Roles> = {
    all: { api: true, worker: true },
    api: { api: true, worker: false },
    worker: { api: false, worker: true },
    migrate: { api: false, worker: false },
  }
  const chosen = roles[command]
  if (chosen === undefined) throw new Error(USAGE)
  const configuration = readConfiguration(process.env)
  if (command !== 'all' && configuration.databaseUrl === undefined) {
    throw new Error(
      `DATABASE_URL must be set for npm run ${command}. Without it, npm start brings up everything.`,
    )
  }
  const log = makeLog(configuration.logLevel)
  if (command !== 'migrate') stopOnSignals(log)
  const database = await openDatabase(configuration, log)
  if (command === 'all' || command === 'migrate') {
    const { migrate } = await import('./database/migrate.ts')
    await migrate({
      databaseUrl: database.url,
      authDatabaseUrl: configuration.authDatabaseUrl,
      log: message => log.info(message),
    })
    if (configuration.demoData) await makeDemoData(database.url)
  }
  await startRoles(chosen, configuration, database, log)
}

type Database = { url: string; jwtSecret: string; embedded: boolean }

async function openDatabase(configuration: Configuration, log: Logger): Promise<Database> {
  const { databaseUrl, jwtSecret } = configuration
  if (databaseUrl !== undefined) {
    if (jwtSecret === undefined) log.warn('JWT_SECRET is not set: access tokens end with this process')
    return { url: databaseUrl, jwtSecret: jwtSecret ?? temporarySecret(), embedded: false }
  }
  // only where it runs
  const { readOrCreateSecret, startEmbedded } = await import('./embedded/embedded.ts')
  const server = await startEmbedded({ directory: dataDirectory, log: message => log.info(message) })
  started.push({ what: 'database', stop: () => server.stop() })
  const secret = jwtSecret ?? readOrCreateSecret(dataDirectory, 'jwt-secret')
  return { url: server.ownerUrl, jwtSecret: secret, embedded: true }
}

async function startRoles(
  roles: Roles,
  configuration: Configuration,
  database: Database,
  log: Logger,
): Promise<void> {
  // each role's packages are loaded where it runs: a worker alone has no use for a GraphQL server
  if (roles.worker) {
    const { startWorkerRole } = await import('./worker/role.ts')
    const worker = await startWorkerRole({ databaseUrl: database.url, log, alerts: configuration.alerts })
    started.push({ what: 'worker', stop: () => worker.stop() })
  }
  if (roles.api) {
    const { startApi } = await import('./api.ts')
    const api = await startApi(configuration, {
      databaseUrl: database.url,
      jwtSecret: database.jwtSecret,
      log,
    })
    started.push({ what: 'api', stop: () => api.stop() })
    greet(api, configuration, database)
  }
}

function greet({ url }: Api, configuration: Configuration, database: Database): void {
  const lines = [`GraphQL API  ${url}/graphql`]
  if (configuration.graphiql) lines.push(`GraphiQL     ${url}/`)
  lines.push(`Health       ${url}/healthz  ${url}/readyz`)
  if (configuration.demoData) lines.push(`Accounts     ${demoAccounts.join(', ')}: password ${demoPassword}`)
  if (database.embedded) lines.push('Data         .data/ (delete it to start afresh)')
  lines.push('Stop         Ctrl-C')
  process.stdout.write(`\nForecourt is ready.\n\n${lines.map(line => `  ${line}`).join('\n')}\n\n`)
}

function stopOnSignals(log: Logger): void {
  let firstAt: number | undefined
  const onSignal = (signal: NodeJS.Signals) => {
    if (firstAt === undefined) {
      firstAt = Date.now()
      log.info({ signal }, 'stopping')
      // the start may still be under way: what it has begun is there to be stopped, and nothing more is begun after the exit
      stopAll(log).then(clean => process.exit(clean ? 0 : 1))
    } else if (Date.now() - firstAt > SAME_SIGNAL_MS) {
      log.warn({ signal }, 'stopping at once')
      process.exit(1)
    }
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
}

/** Requests first, then jobs, pools and the database server. Returns whether all went well. */
async function stopAll(log: Logger): Promise<boolean> {
  let clean = true
  for (let next = started.pop(); next !== undefined; next = started.pop()) {
    try {
      await next.stop()
      log.info(`stopped ${next.what}`)
    } catch (error) {
      clean = false
      log.error({ err: error }, `could not stop ${next.what}`)
    }
  }
  return clean
}

function sentence(error: unknown): string {
  // a name with several addresses, none of which answers: the error itself has no message
  if (error instanceof AggregateError) return error.errors.map(sentence).join('\n')
  const { code, message } = error as { code?: unknown; message?: unknown }
  if (UNREACHABLE.has(String(code)))
    return `Cannot connect (${message}). Please check DATABASE_URL, and whether the server runs.`
  return typeof message === 'string' ? message : String(error)
}

try {
  await main()
} catch (error) {
  // A person reads this first: the sentence, and no stack for what has a sentence of its own.
  process.stderr.write(`${sentence(error)}\n`)
  await stopAll(makeLog('silent'))
  process.exit(1)
}
