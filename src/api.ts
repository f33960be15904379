/** The API: pool, GraphQL and HTTP server, started together and stopped in order. */
import type { Server } from 'node:http'
import pg from 'pg'
import type { Configuration } from './configuration.ts'
import { authenticator, authenticatorFault } from './database/authenticator.ts'
import { isLoginRefused, operatorMessage } from './database/connectionErrors.ts'
import { type Flush, makeFlush } from './database/durability.ts'
import { migrationDifference, migrationFault, writeFault } from './database/migrations.ts'
import { CONNECTIONS, makePool } from './database/pool.ts'
import { requireEncoding } from './database/requirements.ts'
import { makeAccountDeletionPlugin } from './graphql/accountDeletion.ts'
import { ApiKeysPlugin } from './graphql/apiKeys.ts'
import { auditLogsPlugins } from './graphql/auditLogs.ts'
import { makeFreshRowsPlugin } from './graphql/freshRows.ts'
import { installGraphql, makeGraphql, readConstraintMessages, rootFieldNames } from './graphql/instance.ts'
import { makeInvitationsPlugin } from './graphql/invitations.ts'
import { listingFiltersPlugins } from './graphql/listingFilters.ts'
import { makeListingResultsPlugins } from './graphql/listingResults.ts'
import { LogoutPlugin } from './graphql/logout.ts'
import { LookupsPlugin } from './graphql/lookups.ts'
import { membersPlugins } from './graphql/members.ts'
import { makePreset } from './graphql/preset.ts'
import { makeAdmission, refuseWhenFull } from './http/admission.ts'
import { makeApp } from './http/app.ts'
import { makeCorsHeaders } from './http/cors.ts'
import { makeMetricsServer } from './http/metricsRoute.ts'
import { drain, listen, METRICS_VARIABLES, makeServer } from './http/server.ts'
import { type AccountsOptions, makeAccounts } from './identity/accounts.ts'
import { makeApiKeys } from './identity/apiKeys.ts'
import { makePasswordProof, makeRecovery } from './identity/recovery.ts'
import { makeRecoveryPlugin } from './identity/recoveryPlugin.ts'
import { watchRevocations } from './identity/revocations.ts'
import { makeSessionsPlugin } from './identity/sessions.ts'
import { makeTokens, type Tokens } from './identity/tokens.ts'
import { fieldsOf, logRefusal, logShadow } from './limits/limiter.ts'
import { type Limits, startLimits } from './limits/startLimits.ts'
import { makeTripwirePlugin } from './limits/tripwire.ts'
import type { Logger } from './log.ts'
import { makeAdmissionMetrics, reportConnections } from './metrics/httpServer.ts'
import { type ConflictRecorder, makeConflictRecorder } from './metrics/pricingConflicts.ts'
import { countPublications } from './metrics/publications.ts'
import { makeRequestMetrics } from './metrics/requests.ts'
import { type Metrics, startMetrics } from './metrics/startMetrics.ts'
import { reportWorker, type WorkerState } from './metrics/worker.ts'
import { derivedKey } from './request/derivedKey.ts'

/** Timeout of one statement of a request. */
const STATEMENT_TIMEOUT_MS = 10_000

export type Api = { url: string; metricsUrl: string; stop(): Promise<void> }

export type ApiOptions = {
  databaseUrl: string
  jwtSecret: string
  log: Logger
  /** The worker of this process, if it runs one. */
  worker?: WorkerState
}

export async function startApi(configuration: Configuration, options: ApiOptions): Promise<Api> {
  const { jwtSecret, log, worker } = options
  const { config } = authenticator({ ...options, authDatabaseUrl: configuration.authDatabaseUrl })
  const stops: (() => unknown)[] = []
  const stop = async () => {
    for (let next = stops.pop(); next !== undefined; next = stops.pop()) await next()
  }
  try {
    const { poolSize, prepareStatements } = configuration
    // a stop runs in reverse order, so the last transactions can still flush
    const flushPool = openPool({ config, name: 'forecourt flush', size: CONNECTIONS.flush, log, stops })
    const pool = openPool({ config, name: 'forecourt api', size: poolSize, log, stops })
    const flush = makeFlush(flushPool, prepareStatements)
    const metrics = startMetrics({ config, log })
    stops.push(metrics.stop)
    const { registry } = metrics
    // listens to the pool's connections, so it comes before the first one
    metrics.watchPool('api', pool)
    metrics.watchPool('flush', flushPool)
    if (worker !== undefined) reportWorker(worker, registry)
    const isNewer = await requireUsable(
      pool,
      configuration.authDatabaseUrl === undefined ? 'DATABASE_URL' : 'AUTH_DATABASE_URL',
    )
    const { instances, limiterDeadlineMs: deadlineMs } = configuration
    const limits = await startLimits({ config, instances, deadlineMs, prepareStatements, metrics, log })
    stops.push(limits.stop)
    const conflicts = makeConflictRecorder({ pool, registry, log })
    stops.push(conflicts.stop)
    const tokens = makeTokens(jwtSecret)
    const onPublished = countPublications(registry)
    const parts = { pool, flush, isNewer, limits, conflicts, onPublished, tokens, jwtSecret, log }
    const graphql = await startGraphql(configuration, parts)
    stops.push(() => graphql.release())
    // after the schema, which keeps the process so busy that it could not read them again in time
    const revocations = await watchRevocations({ ...limits, log })
    const apiKeys = makeApiKeys({ ...limits, log })
    stops.push(apiKeys.stop)
    const rootFields = rootFieldNames(await graphql.getSchema())
    const server = makeServer(configuration.maxConnections)
    reportConnections(server, registry)
    const admission = makeAdmission({
      slots: configuration.maxInProgress,
      connections: poolSize,
      metrics: makeAdmissionMetrics(registry),
      corsHeaders: makeCorsHeaders(configuration.corsOrigins),
      log,
    })
    const app = await makeApp({
      log,
      tokens,
      revocations,
      apiKeys,
      trustProxy: configuration.trustProxy,
      corsOrigins: configuration.corsOrigins,
      admission,
      requestMetrics: makeRequestMetrics(registry, { rootFields, fieldsOf }),
      readMetrics: configuration.metrics === undefined ? metrics.read : undefined,
      limits: { ...limits, secret: derivedKey(jwtSecret, 'rate limit') },
      graphiql: configuration.graphiql,
      readinessFault: async () => (await databaseFault(pool)) ?? worker?.fault(),
      installGraphql: app => installGraphql(app, server, graphql),
    })
    server.on('request', refuseWhenFull(app, admission))
    return { ...(await serve(configuration, server, metrics.read, stops)), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

type PoolParts = { config: pg.PoolConfig; name: string; size: number; log: Logger; stops: (() => unknown)[] }

/** A pool for the statements of requests. It is closed after the last request. */
function openPool({ stops, log, ...options }: PoolParts): pg.Pool {
  const pool = makePool({
    ...options,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
    onError: error => log.warn({ reason: error.message }, 'lost a database connection'),
  })
  stops.push(() => pool.end())
  return pool
}

/** Listens for metrics first. A stop runs in reverse order, so metrics are served until the last request has ended. */
async function serve(
  { host, port, metrics }: Configuration,
  server: Server,
  readMetrics: Metrics['read'],
  stops: (() => unknown)[],
): Promise<Pick<Api, 'url' | 'metricsUrl'>> {
  let metricsUrl: string | undefined
  if (metrics !== undefined) {
    const metricsServer = makeMetricsServer(readMetrics)
    metricsUrl = await listen(metricsServer, metrics.host, metrics.port, METRICS_VARIABLES)
    stops.push(() => drain(metricsServer))
  }
  const url = await listen(server, host, port)
  stops.push(() => drain(server))
  return { url, metricsUrl: `${metricsUrl ?? url}/metrics` }
}

/**
 * Throws a sentence if the API cannot serve this database. `variable` has its URL. Returns whether the database has migrations
 * that this build does not know.
 */
async function requireUsable(pool: pg.Pool, variable: string): Promise<boolean> {
  try {
    await requireEncoding(pool)
  } catch (error) {
    const sentence = isLoginRefused(error) ? authenticatorFault(error) : operatorMessage(error, variable)
    throw new Error(sentence, { cause: error })
  }
  const { fault, isNewer } = await migrationDifference(pool)
  if (fault !== undefined) throw new Error(fault)
  return isNewer
}

type GraphqlParts = {
  pool: pg.Pool
  flush: Flush
  isNewer: boolean
  limits: Limits
  conflicts: ConflictRecorder
  onPublished: (source: string) => void
  tokens: Tokens
  jwtSecret: string
  log: Logger
}

async function startGraphql(configuration: Configuration, parts: GraphqlParts) {
  const { pool, flush, isNewer, limits, conflicts, onPublished, tokens, jwtSecret, log } = parts
  const mailKey = derivedKey(jwtSecret, 'mail token')
  const refreshKey = derivedKey(jwtSecret, 'refresh token')
  const accounts = { pool, tokens, refreshKey, mailKey, onCounted: accountCounter(limits, log) }
  const constraintMessages = await readConstraintMessages(pool)
  const graphql = await makeGraphql(
    makePreset({
      pool,
      flush,
      prepareStatements: configuration.prepareStatements,
      log: report => log.error(report, 'a request failed'),
      onFault: conflicts.note,
      constraintMessages,
      introspection: configuration.introspection,
      graphiql: configuration.graphiql,
      plugins: [
        LookupsPlugin,
        ...membersPlugins,
        makeInvitationsPlugin(mailKey),
        ApiKeysPlugin,
        ...auditLogsPlugins,
        ...listingFiltersPlugins,
        makeFreshRowsPlugin(onPublished),
        ...makeListingResultsPlugins({ constraintMessages, onFault: conflicts.note }),
        makeSessionsPlugin(makeAccounts(accounts)),
        makeRecoveryPlugin(makeRecovery(accounts)),
        LogoutPlugin,
        makeAccountDeletionPlugin(makePasswordProof(accounts)),
        makeTripwirePlugin(limits.policies),
      ],
    }),
  )
  // newer migrations may have limits for fields that this build does not have
  if (!isNewer) limits.policies.restrictTo(rootFieldNames(await graphql.getSchema()))
  return graphql
}

/** SQL counts failed logins and mails. Reports the outcome like that of any other charge. */
function accountCounter({ metrics }: Limits, log: Logger): AccountsOptions['onCounted'] {
  return (policy, outcome, request) => {
    metrics.checks.inc({ policy, outcome })
    if (outcome === 'refused') logRefusal(log, request, policy)
    if (outcome === 'shadow_refused') logShadow(log, policy)
  }
}

/** Why the database cannot serve requests, as a sentence. */
async function databaseFault(pool: pg.Pool): Promise<string | undefined> {
  try {
    return (await migrationFault(pool)) ?? (await writeFault(pool))
  } catch (error) {
    const sqlstate = error instanceof pg.DatabaseError ? ` (SQLSTATE ${error.code})` : ''
    return `The database does not respond${sqlstate}. Please check that it runs.`
  }
}
