/** docker-compose.yml: which secrets each service knows, and the same commands in real processes on a server of its own. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { projectDirectory } from '../scripts/support/commands.ts'
import { type EmbeddedServer, startEmbedded } from '../src/embedded/embedded.ts'
import { clientOf } from './support/apiServer.ts'
import { killLeftOvers, type Running, startNode, untilReady } from './support/commandProcess.ts'
import { register } from './support/graphqlOperations.ts'
import { runSql } from './support/shell.ts'
import { until } from './support/waits.ts'

type Service = {
  image: string
  command: string
  environment: Record<string, string>
  restart: string
  depends_on?: Record<string, { condition: string }>
}

const read = (path: string) => readFileSync(join(projectDirectory, path), 'utf8')
const yaml: { load: (text: string) => unknown } = createRequire(import.meta.url)('js-yaml')
const file = read('docker-compose.yml')
const { services } = yaml.load(file) as {
  services: Record<'postgres' | 'migrate' | 'api' | 'worker', Service>
}
const secrets = {
  POSTGRES_PASSWORD: 'superuserpassword',
  OWNER_PASSWORD: 'ownerpassword',
  API_PASSWORD: 'apipassword',
  JWT_SECRET: 'a secret of tests, long enough for anyone',
}

/** The environment of a service, with `${NAME:-default}` and `${NAME:?message}` replaced as compose does. */
function environmentOf(name: keyof typeof services, given: Record<string, string> = secrets) {
  const replaced = Object.entries(services[name].environment).map(([key, value]) => [
    key,
    value.replaceAll(/\$\{(\w+):([-?])([^}]*)\}/g, (_all, variable: string, kind: string, rest: string) => {
      const known = given[variable]
      if (known !== undefined) return known
      if (kind === '?') throw new Error(`${variable} is required`)
      return rest
    }),
  ])
  return Object.fromEntries(replaced) as Record<string, string>
}

const directory = mkdtempSync(join(tmpdir(), 'forecourt-compose-'))
let server: EmbeddedServer

beforeAll(async () => {
  server = await startEmbedded({ directory, log: () => {} })
  await runSql(superuserUrl(), `drop database forecourt;\ndrop role forecourt_owner;\n${firstStart()}`)
})

afterEach(killLeftOvers)

afterAll(async () => {
  await server.stop()
  rmSync(directory, { recursive: true })
})

/** ops/postgres/first-start.sql, with its variables replaced as psql does. */
function firstStart(): string {
  const given: Record<string, string> = secrets
  const names = new Map<string, string>()
  return read('ops/postgres/first-start.sql')
    .replaceAll(/^\\getenv (\w+) (\w+)\n/gm, (_line, name: string, variable: string) => {
      names.set(name, given[variable] ?? '')
      return ''
    })
    .replaceAll(/:'(\w+)'/g, (_all, name: string) => pg.escapeLiteral(names.get(name) ?? ''))
}

const superuserUrl = () => server.superuserUrl.replace(/forecourt$/, 'postgres')

async function asSuperuser(sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: superuserUrl() })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

/** Runs the command of a service with its environment and nothing else. */
function run(name: 'migrate' | 'api' | 'worker', command = services[name].command): Running {
  const environment = Object.entries(environmentOf(name)).map(([key, value]) => [
    key,
    value.replace('@postgres:5432/', `@127.0.0.1:${server.port}/`),
  ])
  const ports = { HOST: '127.0.0.1', PORT: '0', METRICS_PORT: '0' }
  return startNode(command.replace(/^node /, ''), { ...Object.fromEntries(environment), ...ports })
}

test('the URL of the owner reaches only migrate and worker, and the API knows its own login alone', () => {
  const knows = (password: string) =>
    Object.keys(services).filter(name =>
      Object.values(environmentOf(name as keyof typeof services)).some(value => value.includes(password)),
    )
  expect(knows(secrets.OWNER_PASSWORD)).toEqual(['postgres', 'migrate', 'worker'])
  expect(knows(secrets.POSTGRES_PASSWORD)).toEqual(['postgres'])
  expect(Object.keys(services.api.environment)).not.toContain('DATABASE_URL')
  expect(environmentOf('api').AUTH_DATABASE_URL).toMatch(/\/\/forecourt_authenticator:apipassword@/)
})

test('every secret is required', () => {
  for (const [service, names] of [
    ['postgres', ['POSTGRES_PASSWORD', 'OWNER_PASSWORD', 'API_PASSWORD']],
    ['migrate', ['OWNER_PASSWORD', 'API_PASSWORD', 'JWT_SECRET']],
    ['api', ['API_PASSWORD', 'JWT_SECRET']],
    ['worker', ['OWNER_PASSWORD', 'JWT_SECRET']],
  ] as const) {
    for (const name of names) {
      const { [name]: _missing, ...others } = secrets
      expect(() => environmentOf(service, others)).toThrow(name)
    }
  }
})

test('every variable of the README reaches the service that reads it', () => {
  const [, table = ''] = /^## Environment\n([\s\S]*?)^## /m.exec(read('README.md')) ?? []
  const documented = [...table.matchAll(/^\| (`[^|]*`) /gm)].flatMap(([, names = '']) =>
    [...names.matchAll(/`(\w+)`/g)].map(([, name]) => name),
  )
  // the image fills its compile cache, and a production has no demo data
  const fixed = ['NODE_COMPILE_CACHE', 'DEMO_DATA']
  const passed = [...Object.keys(services.api.environment), ...Object.keys(services.worker.environment)]
  expect(documented.length).toBeGreaterThan(20)
  expect(documented.filter(name => ![...passed, ...fixed].includes(name ?? ''))).toEqual([])
  const given = Object.fromEntries(
    ['TRUST_PROXY', 'POOL_SIZE', 'INSTANCES', 'METRICS_HOST'].map(name => [name, 'given']),
  )
  expect(environmentOf('api', { ...secrets, ...given })).toMatchObject(given)
})

test('migrate waits for the database and is tried again; the API and the worker wait for migrate', () => {
  expect(services.migrate.restart).toMatch(/^on-failure:\d+$/)
  expect(services.migrate.depends_on).toEqual({ postgres: { condition: 'service_healthy' } })
  for (const name of ['api', 'worker'] as const)
    expect(services[name].depends_on).toEqual({ migrate: { condition: 'service_completed_successfully' } })
})

test('an image is pinned by its digest, or the file says why it is not', () => {
  const unpinned = Object.values(services).filter(
    ({ image }) => image !== 'forecourt' && !image.includes('@sha256:'),
  )
  if (unpinned.length > 0) expect(file).toMatch(/^# .*not by digest: /m)
})

test('the roles of the first start are no superusers, and the API connects to its database alone', async () => {
  expect(
    await asSuperuser(
      "select rolname, rolsuper, rolcreaterole from pg_roles where rolname like 'forecourt%' order by rolname",
    ),
  ).toEqual([
    { rolname: 'forecourt_authenticator', rolsuper: false, rolcreaterole: false },
    { rolname: 'forecourt_owner', rolsuper: false, rolcreaterole: true },
  ])
  const elsewhere = environmentOf('api').AUTH_DATABASE_URL?.replace(
    '@postgres:5432/forecourt',
    `@127.0.0.1:${server.port}/postgres`,
  )
  await expect(new pg.Client({ connectionString: elsewhere }).connect()).rejects.toMatchObject({
    code: '42501',
  })
})

test('the commands of the services migrate, serve requests and run jobs', async () => {
  const migrate = run('migrate')
  expect([await migrate.ended, migrate.output()]).toEqual([0, expect.not.stringContaining('"level":50')])
  const [api, worker] = [run('api'), run('worker')]
  const url = await untilReady(api)
  expect((await fetch(`${url}/readyz`)).status).toBe(200)
  const password = 'correct horse battery'
  const client = { ...clientOf(url), stop: async () => {} }
  expect(await register(client, { email: 'first@example.com', password })).toMatchObject({ status: 200 })
  const admin = run('migrate', 'node src/admin.ts grant first@example.com')
  expect(await admin.ended).toBe(0)
  await until('the worker is connected', async () => {
    const rows = await asSuperuser("select from pg_stat_activity where application_name = 'forecourt worker'")
    return rows.length > 0
  })
  const doctor = run('migrate', 'node src/doctor.ts')
  expect([await doctor.ended, doctor.output().match(/^FAIL.*$/gm)]).toEqual([0, null])
  for (const running of [api, worker]) running.child.kill('SIGTERM')
  expect([await api.ended, await worker.ended]).toEqual([0, 0])
})
