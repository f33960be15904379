/** The environment as one typed, frozen object. Every fault is reported at once. */
import { randomBytes } from 'node:crypto'

/** What this process is there for. */
export type Roles = { api: boolean; worker: boolean }

/** Where alerts are sent to; what is absent is not used. */
export type AlertConfiguration = Readonly<{
  webhookUrl?: string
  email?: Readonly<{ to: readonly string[]; from: string; smtpUrl: string }>
}>

export type Configuration = Readonly<{
  production: boolean
  host: string
  port: number
  /** The owner's URL; undefined: an embedded Postgres. */
  databaseUrl: string | undefined
  authDatabaseUrl: string | undefined
  /** Undefined: main takes the one kept beside the embedded database. */
  jwtSecret: string | undefined
  /** Trusted proxies for `X-Forwarded-For`: addresses or CIDRs; empty: trust nothing. */
  trustProxy: readonly string[]
  logLevel: string
  demoData: boolean
  graphiql: boolean
  introspection: boolean
  poolSize: number
  /** Off behind a pooler that hands out connections by transaction and does not know prepared statements. */
  prepareStatements: boolean
  /** GraphQL requests that are worked on at once; others may wait: `src/http/admission.ts`. */
  maxInProgress: number
  maxConnections: number
  /** API processes that share the database: each gives out its share of a limit while the counters cannot be reached. */
  instances: number
  /** How long the limiter waits for a database that says nothing, in milliseconds, before it counts in this process. */
  limiterDeadline: number
  alerts: AlertConfiguration
}>

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

/** Thrown for an environment that cannot be used; the message has a line for each fault. */
export class ConfigurationError extends Error {
  readonly code = 'CONFIGURATION'
}

export function readConfiguration(env: Readonly<Record<string, string | undefined>>): Configuration {
  const faults: string[] = []
  // an empty variable, as compose files make them, counts as missing
  const text = (name: string) => env[name] || undefined
  const flag = (name: string, otherwise: boolean) => {
    const value = text(name)
    if (value !== undefined && value !== '0' && value !== '1')
      faults.push(`${name} is 0 or 1, not "${value}".`)
    return value === undefined ? otherwise : value === '1'
  }
  const integer = (name: string, otherwise: number, least: number, most: number) => {
    const value = text(name) ?? String(otherwise)
    const number = Number(value)
    if (/^\d+$/.test(value) && number >= least && number <= most) return number
    faults.push(`${name} is a whole number from ${least} to ${most}, not "${value}".`)
    return otherwise
  }
  const databaseUrl = (name: string) => {
    const value = text(name)
    // the value may hold a password and is not repeated
    if (value !== undefined && !/^postgres(ql)?:\/\//.test(value))
      faults.push(`${name} begins with postgres://.`)
    return value
  }

  const production = env.NODE_ENV === 'production'
  if (production) {
    const missing = ['JWT_SECRET', 'DATABASE_URL'].filter(name => text(name) === undefined)
    if (missing.length > 0) faults.push(`In production ${missing.join(' and ')} must be set.`)
  }
  const jwtSecret = text('JWT_SECRET')
  if (production && jwtSecret !== undefined && Buffer.byteLength(jwtSecret) < 32) {
    // RFC 7518, section 3.2: a key for HS256 is no shorter than its hash
    faults.push('JWT_SECRET needs at least 32 bytes in production.')
  }
  const logLevel = text('LOG_LEVEL') ?? 'info'
  if (!LOG_LEVELS.includes(logLevel)) faults.push(`LOG_LEVEL is one of ${LOG_LEVELS.join(', ')}.`)
  const trustProxy = (text('TRUST_PROXY') ?? '')
    .split(',')
    .map(entry => entry.trim())
    .filter(Boolean)
  for (const entry of trustProxy) {
    if (!/^[0-9a-f.:]+(\/\d{1,3})?$/i.test(entry) || !/[.:]/.test(entry)) {
      faults.push(
        `TRUST_PROXY lists addresses or CIDRs, not "${entry}": who is trusted unseen can forge any address.`,
      )
    }
  }
  const poolSize = integer('POOL_SIZE', 10, 1, 1000)
  const configuration: Configuration = Object.freeze({
    production,
    host: text('HOST') ?? '127.0.0.1',
    port: integer('PORT', 5080, 0, 65535),
    databaseUrl: databaseUrl('DATABASE_URL'),
    authDatabaseUrl: databaseUrl('AUTH_DATABASE_URL'),
    jwtSecret,
    trustProxy: Object.freeze(trustProxy),
    logLevel,
    demoData: flag('DEMO_DATA', text('DATABASE_URL') === undefined),
    graphiql: flag('GRAPHIQL', !production),
    introspection: flag('INTROSPECTION', !production),
    poolSize,
    prepareStatements: flag('PREPARED_STATEMENTS', true),
    // none waits for a connection; while one is read, planned or answered, there are others for the database to work on
    maxInProgress: integer('MAX_IN_PROGRESS', poolSize, 1, 10_000),
    maxConnections: integer('MAX_CONNECTIONS', 1000, 1, 100_000),
    instances: integer('INSTANCES', 1, 1, 1000),
    limiterDeadline: integer('LIMITER_DEADLINE_MS', 75, 10, 60_000),
    alerts: readAlerts(text, faults),
  })
  if (faults.length > 0) throw new ConfigurationError(faults.join('\n'))
  return configuration
}

/** The channels of alerts; adds to `faults` what is wrong with them. Values may hold secrets and are not repeated. */
function readAlerts(text: (name: string) => string | undefined, faults: string[]): AlertConfiguration {
  const url = (name: string, protocols: string[]) => {
    const value = text(name)
    const known = URL.parse(value ?? '')
    if (value !== undefined && !(known?.hostname && protocols.includes(known.protocol)))
      faults.push(`${name} is a URL that begins with ${protocols.join('// or ')}//.`)
    return value
  }
  const addresses = (name: string) => {
    const list = (text(name) ?? '').split(',').map(address => address.trim())
    const given = list.filter(Boolean)
    if (!given.every(address => /^[^\s@<>"]+@[^\s@<>"]+$/.test(address)))
      faults.push(`${name} takes e-mail addresses such as ops@example.com.`)
    return given
  }
  const webhookUrl = url('ALERT_WEBHOOK_URL', ['https:', 'http:'])
  const smtpUrl = url('SMTP_URL', ['smtps:', 'smtp:'])
  const to = addresses('ALERT_EMAIL_TO')
  const [from, ...more] = addresses('ALERT_EMAIL_FROM')
  if (more.length > 0) faults.push('ALERT_EMAIL_FROM is one address.')
  const complete = to.length > 0 && from !== undefined && smtpUrl !== undefined
  if (!complete && (to.length > 0 || from !== undefined || smtpUrl !== undefined))
    faults.push('ALERT_EMAIL_TO, ALERT_EMAIL_FROM and SMTP_URL are set together or not at all.')
  return Object.freeze({
    ...(webhookUrl === undefined ? {} : { webhookUrl }),
    ...(complete ? { email: Object.freeze({ to: Object.freeze(to), from, smtpUrl }) } : {}),
  })
}

/** A secret for one process: tokens signed with it end with it. */
export function temporarySecret(): string {
  return randomBytes(32).toString('hex')
}
