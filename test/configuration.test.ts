/** The configuration from environment variables: defaults, and errors that name every fault together. */
import { availableParallelism } from 'node:os'
import { expect, test } from '@jest/globals'
import { ConfigurationError, poolSizeFor, readConfiguration } from '../src/configuration.ts'

type Environment = Record<string, string | undefined>

/** The lines of the error for an invalid environment; empty if it is valid. */
function faultsOf(env: Environment): string[] {
  try {
    readConfiguration(env)
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError)
    expect((error as ConfigurationError).code).toBe('CONFIGURATION')
    return (error as Error).message.split('\n')
  }
  return []
}

const secret = 'x'.repeat(32)
const DATABASE_URL = 'postgres://owner:hidden@db/forecourt'

test('without variables the API runs in development on 127.0.0.1:5080 with demo data and an embedded database', () => {
  expect(readConfiguration({})).toEqual({
    production: false,
    host: '127.0.0.1',
    port: 5080,
    metrics: undefined,
    databaseUrl: undefined,
    authDatabaseUrl: undefined,
    jwtSecret: undefined,
    trustProxy: [],
    corsOrigins: [],
    logLevel: 'info',
    demoData: true,
    graphiql: true,
    introspection: true,
    poolSize: poolSizeFor(availableParallelism()),
    prepareStatements: true,
    maxInProgress: 10,
    maxConnections: 1000,
    instances: 1,
    limiterDeadlineMs: 75,
    alerts: {},
    mail: {},
  })
})

test('with DATABASE_URL, demo data is off unless DEMO_DATA switches it on', () => {
  expect(readConfiguration({ DATABASE_URL })).toMatchObject({ demoData: false, databaseUrl: DATABASE_URL })
  expect(readConfiguration({ DATABASE_URL, DEMO_DATA: '1' }).demoData).toBe(true)
  expect(readConfiguration({ DEMO_DATA: '0' }).demoData).toBe(false)
})

test('in production GraphiQL and introspection are off unless switched on', () => {
  const production = { NODE_ENV: 'production', JWT_SECRET: secret, DATABASE_URL }
  expect(readConfiguration(production)).toMatchObject({
    production: true,
    graphiql: false,
    introspection: false,
  })
  const on = readConfiguration({ ...production, GRAPHIQL: '1', INTROSPECTION: '1' })
  expect(on).toMatchObject({ graphiql: true, introspection: true })
})

test('metrics are served at the port of the API in development, and at 9464 of this machine in production', () => {
  const production = { NODE_ENV: 'production', JWT_SECRET: secret, DATABASE_URL }
  const read = (env: Environment) => readConfiguration(env).metrics
  expect(read({ PORT: '0' })).toBeUndefined()
  expect(read({ PORT: '6000', METRICS_PORT: '6000', METRICS_HOST: '0.0.0.0' })).toBeUndefined()
  expect(read(production)).toEqual({ host: '127.0.0.1', port: 9464 })
  expect(read({ ...production, PORT: '9464' })).toBeUndefined()
  expect(read({ METRICS_PORT: '9000', METRICS_HOST: '::' })).toEqual({ host: '::', port: 9000 })
  expect(read({ PORT: '0', METRICS_PORT: '0' })).toEqual({ host: '127.0.0.1', port: 0 })
})

test('each variable is read', () => {
  const env = {
    PORT: '0',
    HOST: '::',
    DATABASE_URL,
    AUTH_DATABASE_URL: 'postgresql://api@db/forecourt',
    JWT_SECRET: secret,
    TRUST_PROXY: ' 10.0.0.0/8, 127.0.0.1 ,::1',
    CORS_ORIGINS: ' https://app.example.com, http://localhost:3000 ',
    LOG_LEVEL: 'debug',
    POOL_SIZE: '3',
    PREPARED_STATEMENTS: '0',
    INSTANCES: '4',
    LIMITER_DEADLINE_MS: '200',
    ALERT_WEBHOOK_URL: 'https://hooks.example.com/hidden',
    ALERT_EMAIL_TO: 'ops@example.com, duty@example.com',
    ALERT_EMAIL_FROM: 'forecourt@example.com',
    SMTP_URL: 'smtps://user:hidden@mail.example.com',
    MAIL_FROM: 'hello@example.com',
    MAX_CONNECTIONS: '50',
  }
  expect(readConfiguration(env)).toMatchObject({
    port: 0,
    host: '::',
    authDatabaseUrl: 'postgresql://api@db/forecourt',
    jwtSecret: secret,
    trustProxy: ['10.0.0.0/8', '127.0.0.1', '::1'],
    corsOrigins: ['https://app.example.com', 'http://localhost:3000'],
    logLevel: 'debug',
    poolSize: 3,
    prepareStatements: false,
    instances: 4,
    limiterDeadlineMs: 200,
    alerts: {
      webhookUrl: 'https://hooks.example.com/hidden',
      email: {
        to: ['ops@example.com', 'duty@example.com'],
        from: 'forecourt@example.com',
        smtpUrl: 'smtps://user:hidden@mail.example.com',
      },
    },
    mail: { smtpUrl: 'smtps://user:hidden@mail.example.com', from: 'hello@example.com' },
    maxConnections: 50,
  })
})

test.each([
  ['1', 10],
  ['10', 10],
  ['25', 25],
])('with POOL_SIZE %s there are %i slots: a small pool does not shrink the queue', (POOL_SIZE, slots) => {
  expect(readConfiguration({ POOL_SIZE }).maxInProgress).toBe(slots)
  expect(readConfiguration({ POOL_SIZE, MAX_IN_PROGRESS: '4' }).maxInProgress).toBe(4)
})

test.each([
  [1, 3],
  [2, 5],
  [4, 9],
  [5, 10],
  [64, 10],
])('for %i cores the default is %i connections', (cores, connections) => {
  expect(poolSizeFor(cores)).toBe(connections)
})

test('an empty variable counts as missing', () => {
  expect(readConfiguration({ PORT: '', HOST: '', DATABASE_URL: '', TRUST_PROXY: '', DEMO_DATA: '' })).toEqual(
    readConfiguration({}),
  )
  expect(faultsOf({ NODE_ENV: 'production', JWT_SECRET: '', DATABASE_URL: '' })).toHaveLength(1)
})

test('in production one line names a missing JWT_SECRET and a missing DATABASE_URL', () => {
  const [both, ...more] = faultsOf({ NODE_ENV: 'production' })
  expect(both).toMatch(/JWT_SECRET.*DATABASE_URL/)
  expect(more).toEqual([])
  expect(faultsOf({ NODE_ENV: 'production', DATABASE_URL }).join()).toMatch(/JWT_SECRET(?!.*DATABASE_URL)/)
  expect(faultsOf({ NODE_ENV: 'production', JWT_SECRET: secret }).join()).not.toMatch(/JWT_SECRET/)
})

test("the API's own login counts as a database: nothing is missing in production, and no demo data is made", () => {
  const AUTH_DATABASE_URL = 'postgres://api:hidden@db/forecourt'
  expect(faultsOf({ NODE_ENV: 'production', JWT_SECRET: secret, AUTH_DATABASE_URL })).toEqual([])
  expect(readConfiguration({ AUTH_DATABASE_URL }).demoData).toBe(false)
})

const invalid: Record<string, string[]> = {
  PORT: ['-1', '65536', '80a', '5080.5', ' 80', '0x50', 'http'],
  METRICS_PORT: ['-1', '65536', 'metrics'],
  POOL_SIZE: ['0', '1001', 'ten'],
  PREPARED_STATEMENTS: ['no'],
  INSTANCES: ['0'],
  LIMITER_DEADLINE_MS: ['9', '75ms'],
  MAX_IN_PROGRESS: ['0', 'many'],
  MAX_CONNECTIONS: ['0', '1e3'],
  DATABASE_URL: ['mysql://db', 'localhost', 'postgres:db'],
  AUTH_DATABASE_URL: ['mysql://db'],
  LOG_LEVEL: ['loud', 'INFO'],
  DEMO_DATA: ['true', 'yes', '2'],
  GRAPHIQL: ['true'],
  INTROSPECTION: ['on'],
  ALERT_WEBHOOK_URL: ['hooks.example.com/hidden', 'ftp://hidden', 'https://'],
  // with such a value any client could forge its address
  CORS_ORIGINS: [
    '*',
    'https://*.example.com',
    'null',
    'app.example.com',
    'https://app.example.com/',
    'https://app.example.com/shop',
    'https://APP.example.com',
    'https://app.example.com:443',
    'ftp://app.example.com',
    'https://app.example.com,*',
  ],
  TRUST_PROXY: ['true', '1', '*', 'loopback', '10.0.0.0/8,true', 'proxy.example.com'],
}

test.each(Object.entries(invalid).flatMap(([name, values]) => values.map(value => [name, value])))(
  '%s=%s is refused, and the error names the variable',
  (name = '', value = '') => {
    expect(faultsOf({ [name]: value })).toEqual([expect.stringContaining(name)])
  },
)

const mail = {
  ALERT_EMAIL_TO: 'ops@example.com',
  ALERT_EMAIL_FROM: 'forecourt@example.com',
  SMTP_URL: 'smtp://mail.example.com',
}

test.each([
  ['ALERT_EMAIL_TO', 'ops'],
  ['ALERT_EMAIL_TO', 'ops@example.com, Ops <ops@example.com>'],
  ['ALERT_EMAIL_FROM', 'forecourt'],
  ['ALERT_EMAIL_FROM', 'a@example.com,b@example.com'],
  ['MAIL_FROM', 'forecourt'],
  ['MAIL_FROM', 'a@example.com,b@example.com'],
  ['SMTP_URL', 'https://user:hidden@mail.example.com'],
  ['SMTP_URL', 'mail.example.com:25'],
])('%s=%s is refused in a valid mail configuration, and the error names the variable', (name, value) => {
  expect(faultsOf({ ...mail, [name]: value })).toEqual([expect.stringContaining(name)])
  expect(faultsOf({ ...mail, [name]: value }).join()).not.toMatch(/hidden/)
})

test('alerts by e-mail need a recipient, a sender and a server together', () => {
  expect(faultsOf(mail)).toEqual([])
  for (const name of Object.keys(mail)) {
    expect(faultsOf({ ...mail, [name]: '' })).toEqual([expect.stringContaining(name)])
  }
})

test('mails to users need a server, and a server needs a sender', () => {
  const { SMTP_URL } = mail
  const MAIL_FROM = 'hello@example.com'
  expect(readConfiguration({ SMTP_URL, MAIL_FROM })).toMatchObject({
    alerts: {},
    mail: { smtpUrl: SMTP_URL, from: MAIL_FROM },
  })
  expect(faultsOf({ SMTP_URL })).toEqual([expect.stringContaining('MAIL_FROM')])
  expect(faultsOf({ MAIL_FROM, DATABASE_URL })).toEqual([expect.stringContaining('SMTP_URL')])
  // on the embedded database the mails become files
  expect(readConfiguration({ MAIL_FROM }).mail).toEqual({ from: MAIL_FROM })
})

test('a JWT_SECRET that is too short for its algorithm is refused in production', () => {
  const env = { NODE_ENV: 'production', DATABASE_URL, JWT_SECRET: 'x'.repeat(31) }
  expect(faultsOf(env)).toEqual([expect.stringContaining('JWT_SECRET')])
})

test('one error lists every fault, and contains no URL and no secret', () => {
  const env = Object.fromEntries(Object.entries(invalid).map(([name, [value]]) => [name, value]))
  const faults = faultsOf({
    ...env,
    NODE_ENV: 'production',
    JWT_SECRET: 'too short',
    DATABASE_URL: 'mysql://u:hidden@db',
  })
  for (const name of [...Object.keys(invalid), 'JWT_SECRET']) {
    expect(faults.filter(fault => fault.startsWith(name))).toHaveLength(1)
  }
  expect(faults.join()).not.toMatch(/hidden|too short/)
})

test('the configuration is immutable', () => {
  const configuration = readConfiguration({ TRUST_PROXY: '10.0.0.1' })
  expect(Object.isFrozen(configuration)).toBe(true)
  expect(Object.isFrozen(configuration.trustProxy)).toBe(true)
})
