/** The environment as one typed, frozen object. Every fault is reported at once. */
import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'

/** The roles that this process runs. */
export type Roles = { api: boolean; worker: boolean }

/** Where alerts are sent. An absent channel is not used. */
export type AlertConfiguration = Readonly<{
  webhookUrl?: string
  email?: Readonly<{ to: readonly string[]; from: string; smtpUrl: string }>
}>

/** How mails reach users. Without both they wait in the outbox; on the embedded database they become files. */
export type MailConfiguration = Readonly<{ smtpUrl?: string; from?: string }>

export type Configuration = Readonly<{
  production: boolean
  host: string
  port: number
  /** Where `/metrics` listens. Undefined: at the port of the API. */
  metrics: Readonly<{ host: string; port: number }> | undefined
  /** The URL of the database owner. With neither URL the embedded Postgres is used. */
  databaseUrl: string | undefined
  /** The URL of the API's login with few rights. The API alone needs no other. */
  authDatabaseUrl: string | undefined
  /** Undefined: `main.ts` uses the one stored beside the embedded database, else a temporary one. */
  jwtSecret: string | undefined
  /** Trusted proxies for `X-Forwarded-For`: addresses or CIDRs. Empty: trust no proxy. */
  trustProxy: readonly string[]
  /** Origins whose pages may call the API from a browser. Empty: none. */
  corsOrigins: readonly string[]
  logLevel: string
  demoData: boolean
  graphiql: boolean
  introspection: boolean
  poolSize: number
  /** False behind a transaction pooler that does not support prepared statements. */
  prepareStatements: boolean
  /** GraphQL requests that run at once; others may queue: `src/http/slots.ts`. */
  maxInProgress: number
  maxConnections: number
  /** API processes that share the database. While it cannot be reached, each process allows its share of a limit. */
  instances: number
  /** How long the limiter waits for a silent database before it counts in this process. */
  limiterDeadlineMs: number
  alerts: AlertConfiguration
  mail: MailConfiguration
}>

/** MAX_IN_PROGRESS is at least this by default. */
const SLOTS = 10
/** An API process uses one core, which cannot keep more connections busy. */
const MAX_DEFAULT_POOL_SIZE = 10
/** The default port of `/metrics` in production. */
const METRICS_PORT = 9464
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

/**
 * The default of POOL_SIZE, if the database has this many cores: two connections for each core, and one more because some always
 * wait for the network or a lock. After https://wiki.postgresql.org/wiki/Number_Of_Database_Connections.
 */
export function poolSizeFor(cores: number): number {
  return Math.min(2 * cores + 1, MAX_DEFAULT_POOL_SIZE)
}

/** The default of MAX_IN_PROGRESS. A small pool must not shrink the queue: a request that waits for its flush holds a slot only. */
export function slotsFor(poolSize: number): number {
  return Math.max(SLOTS, poolSize)
}

/** Thrown for an unusable environment. The message has a line for each fault. */
export class ConfigurationError extends Error {
  readonly code = 'CONFIGURATION'
}

export function readConfiguration(env: Readonly<Record<string, string | undefined>>): Configuration {
  const faults: string[] = []
  // compose files set variables to an empty string; that counts as missing
  const text = (name: string) => env[name] || undefined
  const flag = (name: string, defaultValue: boolean) => {
    const value = text(name)
    if (value !== undefined && value !== '0' && value !== '1')
      faults.push(`${name} must be 0 or 1, not "${value}".`)
    return value === undefined ? defaultValue : value === '1'
  }
  const integer = (name: string, defaultValue: number, least: number, most: number) => {
    const value = text(name) ?? String(defaultValue)
    const number = Number(value)
    if (/^\d+$/.test(value) && number >= least && number <= most) return number
    faults.push(`${name} must be a whole number from ${least} to ${most}, not "${value}".`)
    return defaultValue
  }
  const databaseUrl = (name: string) => {
    const value = text(name)
    // the message does not repeat the value, which may hold a password
    if (value !== undefined && !/^postgres(ql)?:\/\//.test(value))
      faults.push(`${name} must begin with postgres://.`)
    return value
  }

  const production = env.NODE_ENV === 'production'
  if (production) {
    // the API needs only its own login; main.ts requires the owner's for the other roles
    const hasDatabase = (text('DATABASE_URL') ?? text('AUTH_DATABASE_URL')) !== undefined
    const missing = [
      ...(text('JWT_SECRET') === undefined ? ['JWT_SECRET'] : []),
      ...(hasDatabase ? [] : ['DATABASE_URL']),
    ]
    if (missing.length > 0) faults.push(`In production ${missing.join(' and ')} must be set.`)
  }
  const jwtSecret = text('JWT_SECRET')
  if (production && jwtSecret !== undefined && Buffer.byteLength(jwtSecret) < 32) {
    // RFC 7518, section 3.2: a key for HS256 has at least the length of the hash
    faults.push('JWT_SECRET must have at least 32 bytes in production.')
  }
  const logLevel = text('LOG_LEVEL') ?? 'info'
  if (!LOG_LEVELS.includes(logLevel)) faults.push(`LOG_LEVEL must be one of ${LOG_LEVELS.join(', ')}.`)
  const trustProxy = (text('TRUST_PROXY') ?? '')
    .split(',')
    .map(entry => entry.trim())
    .filter(Boolean)
  for (const entry of trustProxy) {
    if (!/^[0-9a-f.:]+(\/\d{1,3})?$/i.test(entry) || !/[.:]/.test(entry)) {
      faults.push(
        `TRUST_PROXY must list addresses or CIDRs, not "${entry}": a wildcard would let any client forge its address.`,
      )
    }
  }
  const port = integer('PORT', 5080, 0, 65535)
  const poolSize = integer('POOL_SIZE', poolSizeFor(availableParallelism()), 1, 1000)
  const configuration: Configuration = Object.freeze({
    production,
    host: text('HOST') ?? '127.0.0.1',
    port,
    metrics: readMetricsAddress(text, integer, { port, production }),
    databaseUrl: databaseUrl('DATABASE_URL'),
    authDatabaseUrl: databaseUrl('AUTH_DATABASE_URL'),
    jwtSecret,
    trustProxy: Object.freeze(trustProxy),
    corsOrigins: readOrigins(text, faults),
    logLevel,
    demoData: flag('DEMO_DATA', (text('DATABASE_URL') ?? text('AUTH_DATABASE_URL')) === undefined),
    graphiql: flag('GRAPHIQL', !production),
    introspection: flag('INTROSPECTION', !production),
    poolSize,
    prepareStatements: flag('PREPARED_STATEMENTS', true),
    maxInProgress: integer('MAX_IN_PROGRESS', slotsFor(poolSize), 1, 10_000),
    maxConnections: integer('MAX_CONNECTIONS', 1000, 1, 100_000),
    instances: integer('INSTANCES', 1, 1, 1000),
    limiterDeadlineMs: integer('LIMITER_DEADLINE_MS', 75, 10, 60_000),
    ...readMessages(text, faults),
  })
  if (faults.length > 0) throw new ConfigurationError(faults.join('\n'))
  return configuration
}

/** In production `/metrics` has a port of its own, so that operators can keep it from the clients of the API. */
function readMetricsAddress(
  text: (name: string) => string | undefined,
  integer: (name: string, defaultValue: number, least: number, most: number) => number,
  { port: apiPort, production }: { port: number; production: boolean },
): Configuration['metrics'] {
  const isGiven = text('METRICS_PORT') !== undefined
  const port = integer('METRICS_PORT', production ? METRICS_PORT : apiPort, 0, 65535)
  const host = text('METRICS_HOST') ?? '127.0.0.1'
  // port 0 stands for any free port, so two zeros are two different ports
  const isShared = port === apiPort && (port !== 0 || !isGiven)
  return isShared ? undefined : Object.freeze({ host, port })
}

function readOrigins(text: (name: string) => string | undefined, faults: string[]): readonly string[] {
  const origins = (text('CORS_ORIGINS') ?? '')
    .split(',')
    .map(origin => origin.trim())
    .filter(Boolean)
  for (const origin of origins) {
    const url = URL.parse(origin)
    // a browser sends an origin as `URL` writes it: in lower case, without a path and without the default port
    if (!/^https?:$/.test(url?.protocol ?? '') || url?.origin !== origin || origin.includes('*'))
      faults.push(
        `CORS_ORIGINS must list exact origins such as https://app.example.com, without a path or a wildcard, not "${origin}".`,
      )
  }
  return Object.freeze(origins)
}

/** Reads the ways to operators and users and adds their faults to `faults`. Messages do not repeat values, which may hold secrets. */
function readMessages(
  text: (name: string) => string | undefined,
  faults: string[],
): Pick<Configuration, 'alerts' | 'mail'> {
  const url = (name: string, protocols: string[]) => {
    const value = text(name)
    const known = URL.parse(value ?? '')
    if (value !== undefined && !(known?.hostname && protocols.includes(known.protocol)))
      faults.push(`${name} must be a URL that begins with ${protocols.join('// or ')}//.`)
    return value
  }
  const addresses = (name: string) => {
    const list = (text(name) ?? '').split(',').map(address => address.trim())
    const given = list.filter(Boolean)
    if (!given.every(address => /^[^\s@<>"]+@[^\s@<>"]+$/.test(address)))
      faults.push(`${name} must list e-mail addresses such as ops@example.com.`)
    return given
  }
  const address = (name: string) => {
    const [first, ...more] = addresses(name)
    if (more.length > 0) faults.push(`${name} must be one address.`)
    return first
  }
  const webhookUrl = url('ALERT_WEBHOOK_URL', ['https:', 'http:'])
  const smtpUrl = url('SMTP_URL', ['smtps:', 'smtp:'])
  const to = addresses('ALERT_EMAIL_TO')
  const from = address('ALERT_EMAIL_FROM')
  const mailFrom = address('MAIL_FROM')
  const hasAlertMail = to.length > 0 || from !== undefined
  const complete = to.length > 0 && from !== undefined && smtpUrl !== undefined
  if (hasAlertMail && !complete)
    faults.push('ALERT_EMAIL_TO and ALERT_EMAIL_FROM must be set together, and need SMTP_URL.')
  if (smtpUrl !== undefined && !hasAlertMail && mailFrom === undefined)
    faults.push('SMTP_URL needs MAIL_FROM, or ALERT_EMAIL_TO and ALERT_EMAIL_FROM.')
  if (mailFrom !== undefined && smtpUrl === undefined && text('DATABASE_URL') !== undefined)
    faults.push('MAIL_FROM needs SMTP_URL.')
  const alerts = {
    ...(webhookUrl === undefined ? {} : { webhookUrl }),
    ...(complete ? { email: Object.freeze({ to: Object.freeze(to), from, smtpUrl }) } : {}),
  }
  const mail = {
    ...(smtpUrl === undefined ? {} : { smtpUrl }),
    ...(mailFrom === undefined ? {} : { from: mailFrom }),
  }
  return { alerts: Object.freeze(alerts), mail: Object.freeze(mail) }
}

/** A secret for one process. Tokens signed with it become invalid when the process ends. */
export function temporarySecret(): string {
  return randomBytes(32).toString('hex')
}
