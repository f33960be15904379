/** Reads the configuration, starts the roles that were asked for, and stops them in order. */
import './graphileEnvironment.ts'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Api } from './api.ts'
import { type Configuration, type Roles, readConfiguration, temporarySecret } from './configuration.ts'
import { operatorMessage } from './database/connectionErrors.ts'
import { demoAccounts, demoPassword, makeDemoData } from './demo/demo.ts'
import { type Logger, makeLog } from './log.ts'
import type { Supervised } from './worker/supervisor.ts'

const dataDirectory = fileURLToPath(new URL('../.data', import.meta.url))
const USAGE = 'Usage: npm start | npm run api | npm run worker | npm run migrate'
/** A terminal sends Ctrl-C to npm and to this process, and npm forwards it: a signal this soon is the same Ctrl-C. */
const SAME_SIGNAL_MS = 1_000
/** The longest stop of a role: a job may hang, and a silent database never responds. Both roles together take less than 30 s. */
const STOP_MS = 12_000

type Running = { name: string; stop: () => Promise<void> }

/** In the order of their start. `stopAll` stops them in reverse. */
const started: Running[] = []
/** Whether a signal has come. Then a failure of the start that it interrupts is no error. */
let isStopping = false
/** The stop of all roles, once it has begun. */
let ending: Promise<boolean> | undefined
/** The variable with the URL that this process uses, for error messages. */
let urlVariable = 'DATABASE_URL'

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
  const url = databaseUrlFor(command, configuration)
  const log = makeLog(configuration.logLevel)
  if (command !== 'migrate') stopOnSignals(log)
  if (chosen.api) await requireFreePorts(configuration)
  const database = await openDatabase(configuration, { url, roles: chosen, log })
  // the signal's stop ends the process
  if (isStopping) return
  if (command === 'all' || command === 'migrate') {
    const { migrate } = await import('./database/migrate.ts')
    await migrate({
      databaseUrl: database.url,
      authDatabaseUrl: configuration.authDatabaseUrl,
      ownsCluster: database.embedded,
      log: message => log.info(message),
    })
    if (configuration.demoData) await makeDemoData(database.url)
  }
  await startRoles(chosen, configuration, database, log)
}

/** Undefined: the embedded database. Only `npm start` may use it, and the API alone needs no login of the owner. */
function databaseUrlFor(command: string, configuration: Configuration): string | undefined {
  const { databaseUrl, authDatabaseUrl } = configuration
  if (databaseUrl !== undefined) return databaseUrl
  if (command === 'api' && authDatabaseUrl !== undefined) {
    urlVariable = 'AUTH_DATABASE_URL'
    return authDatabaseUrl
  }
  if (command !== 'all')
    throw new Error(
      `Please set DATABASE_URL for npm run ${command}, or use npm start, which starts its own database.`,
    )
  if (authDatabaseUrl !== undefined)
    throw new Error('Please set DATABASE_URL too. Without both variables npm start uses its own database.')
  return undefined
}

/** Called before a database is created or migrated. */
async function requireFreePorts({ host, port, metrics }: Configuration): Promise<void> {
  const { requireFree, METRICS_VARIABLES } = await import('./http/server.ts')
  await requireFree(host, port)
  if (metrics !== undefined) await requireFree(metrics.host, metrics.port, METRICS_VARIABLES)
}

type Database = { url: string; jwtSecret: string; embedded: boolean }

async function openDatabase(
  { jwtSecret }: Configuration,
  { url, roles, log }: { url: string | undefined; roles: Roles; log: Logger },
): Promise<Database> {
  if (url !== undefined) {
    if (jwtSecret === undefined && roles.api)
      log.warn('JWT_SECRET is not set: access tokens become invalid when this process stops')
    else if (jwtSecret === undefined && roles.worker)
      log.warn('JWT_SECRET is not set: this process cannot open the tokens of mails')
    return { url, jwtSecret: jwtSecret ?? temporarySecret(), embedded: false }
  }
  // loaded only when it is used
  const { readOrCreateSecret, startEmbedded } = await import('./embedded/embedded.ts')
  const starting = startEmbedded({
    directory: dataDirectory,
    log: message => log.info(message),
    onLost: error => void fail(error),
  })
  // before it runs: a stop during the start must not leave the server behind
  started.push({ name: 'database', stop: async () => (await starting).stop() })
  const server = await starting
  const secret = jwtSecret ?? readOrCreateSecret(dataDirectory, 'jwt-secret')
  return { url: server.ownerUrl, jwtSecret: secret, embedded: true }
}

async function startRoles(
  roles: Roles,
  configuration: Configuration,
  database: Database,
  log: Logger,
): Promise<void> {
  // load only the packages of the roles that run: a worker needs no GraphQL server
  let worker: Supervised | undefined
  if (roles.worker) {
    const { startWorkerRole } = await import('./worker/role.ts')
    worker = await startWorkerRole({
      databaseUrl: database.url,
      log,
      alerts: configuration.alerts,
      mail: configuration.mail,
      jwtSecret: database.jwtSecret,
      ...(database.embedded ? { mailDirectory: join(dataDirectory, 'mail') } : {}),
    })
    const { stop } = worker
    started.push({ name: 'worker', stop: () => inTime(stop()) })
  }
  if (roles.api) {
    const { startApi } = await import('./api.ts')
    const api = await startApi(configuration, {
      databaseUrl: database.url,
      jwtSecret: database.jwtSecret,
      log,
      ...(worker === undefined ? {} : { worker }),
    })
    started.push({ name: 'api', stop: () => inTime(api.stop()) })
    printReady(api, configuration, database)
  }
}

function printReady({ url, metricsUrl }: Api, configuration: Configuration, database: Database): void {
  const lines = [`GraphQL API  ${url}/graphql`]
  if (configuration.graphiql) lines.push(`GraphiQL     ${url}/`)
  lines.push(`Health       ${url}/healthz  ${url}/readyz`, `Metrics      ${metricsUrl}`)
  if (configuration.demoData) lines.push(`Accounts     ${demoAccounts.join(', ')}: password ${demoPassword}`)
  if (database.embedded) lines.push('Data         .data/ (delete it to start with a new database)')
  if (database.embedded && configuration.mail.smtpUrl === undefined) lines.push('Mails        .data/mail/')
  lines.push('Stop         Ctrl-C')
  process.stdout.write(`\nForecourt is ready.\n\n${lines.map(line => `  ${line}`).join('\n')}\n\n`)
}

function stopOnSignals(log: Logger): void {
  let firstAt: number | undefined
  const onSignal = (signal: NodeJS.Signals) => {
    if (firstAt === undefined) {
      firstAt = Date.now()
      isStopping = true
      log.info({ signal }, 'stopping')
      // exit() also ends a start that is still running
      stopAll(log).then(stopped => process.exit(stopped ? 0 : 1))
    } else if (Date.now() - firstAt > SAME_SIGNAL_MS) {
      log.warn({ signal }, 'stopping at once')
      process.exit(1)
    }
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
}

/** A signal may come while a failure stops everything: both wait for the same stop, or one would leave the database behind. */
function stopAll(log: Logger): Promise<boolean> {
  ending ??= stopStarted(log)
  return ending
}

/** Stops the API first, then the worker and the database server. Returns whether all of them stopped. */
async function stopStarted(log: Logger): Promise<boolean> {
  let allStopped = true
  for (let next = started.pop(); next !== undefined; next = started.pop()) {
    try {
      await next.stop()
      log.info(`stopped ${next.name}`)
    } catch (error) {
      allStopped = false
      log.error({ err: error }, `could not stop ${next.name}`)
    }
  }
  return allStopped
}

/** Rejects if a stop takes too long. The exit of the process then ends the rest. */
function inTime(stopping: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`It did not stop within ${STOP_MS / 1_000} s.`))
    const timer = setTimeout(late, STOP_MS)
    stopping.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/** Ends the process with exit code 1 and, for an operator, the message without a stack. */
async function fail(error: unknown): Promise<void> {
  if (isStopping) return
  process.stderr.write(`${operatorMessage(error, urlVariable)}\n`)
  await stopAll(makeLog('silent'))
  process.exit(1)
}

await main().catch(fail)
