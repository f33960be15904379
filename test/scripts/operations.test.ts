/** docs/operations.md, followed by an operator on a new server: each command and each statement of these sections runs. */
import { mkdtempSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'
import { jwtSecret, startServer } from '../support/apiServer.ts'
import { killLeftOvers, start, untilReady } from '../support/commandProcess.ts'
import { cloneDatabase } from '../support/database.ts'
import { makeAdmin } from '../support/seller.ts'
import { runScript, runSql } from '../support/shell.ts'
import { makeCountry, makeDealer, makePackage, makeUser } from '../support/testData.ts'
import { type Block, blocksOf, inNextYear } from './guide.ts'

const guide = inNextYear(await readFile('docs/operations.md', 'utf8'))
const home = mkdtempSync(join(tmpdir(), 'forecourt-guide-'))

let server: EmbeddedServer
let env: { DATABASE_URL: string; JWT_SECRET: string; NODE_ENV: string }
/** The superuser's URL of a database that the guide does not make. */
let superuserUrl: string

beforeAll(async () => {
  server = await startEmbedded({ directory: join(home, '.data'), log: () => {} })
  superuserUrl = server.superuserUrl.replace(/forecourt$/, 'postgres')
  env = {
    DATABASE_URL: server.ownerUrl.replace(/:\w+@/, ':byhand@'),
    JWT_SECRET: jwtSecret,
    NODE_ENV: 'production',
  }
  // the guide makes both
  await runSql(superuserUrl, 'drop database forecourt;\ndrop role forecourt_owner;\n')
})

afterEach(killLeftOvers)

afterAll(async () => {
  await server.stop()
  rmSync(home, { recursive: true })
})

async function rowsOf(sql: string, url = env.DATABASE_URL): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

async function follow({ language, tag, text }: Block): Promise<void> {
  if (language === 'sql') {
    const url = { 'as-superuser': superuserUrl, 'as-owner': env.DATABASE_URL }[tag]
    if (url !== undefined) await runSql(url, text, 'byhand')
  } else if (tag === 'run') {
    const { status, output } = await runScript(text, env)
    if (status !== 0) throw new Error(`${text}ended with ${status}:\n${output}`)
  }
}

test('on an empty server in production, the commands of the first steps lead to an admin and a published listing', async () => {
  const blocks = blocksOf(guide, 'First steps')
  const started = blocks.findIndex(({ text }) => text.includes('npm run api'))
  expect(started).toBeGreaterThan(0)
  for (const block of blocks.slice(0, started)) await follow(block)
  const api = start('api', { ...env, METRICS_PORT: '0' })
  const url = await untilReady(api)
  const steps = blocks.slice(started).filter(({ tag }) => tag === 'run')
  // the blocks share the variables of one shell
  const script = steps.map(({ text }) => text).join('\n')
  // an operator who is not sure of a step repeats it
  for (const text of [script, script.replace(/^call .*RegisterInput!.*\n.*\n/m, '')]) {
    const { status, output } = await runScript(text.replaceAll('http://127.0.0.1:5080', url), env)
    expect([status, output]).toEqual([0, expect.not.stringContaining('"errors"')])
    expect(output).toContain('"pricingGaps":{"totalCount":0}')
    expect(output).toMatch(/"listing":\{"id":"[^"]+","status":"ACTIVE"\}/)
  }
  const listings = await rowsOf('select status from app_public.listings')
  expect(listings).toEqual([{ status: 'active' }])
  api.child.kill('SIGTERM')
  expect(await api.ended).toBe(0)
})

test('a change by hand is in the audit trail under the login of its author, which ends with its membership', async () => {
  const blocks = blocksOf(guide, 'Work by hand, and break the glass')
  const [made, worked, removed] = blocks.filter(({ language }) => language === 'sql')
  const ana = env.DATABASE_URL.replace(/\/\/.*@/, '//ana:one%20that%20ana%20changes@')
  const notes = async () =>
    (await runScript('npm run --silent db:doctor', env)).output.match(/^note .* ana .*$/m)
  await runSql(superuserUrl, made?.text ?? '')
  expect(worked?.tag).toBe('as-ana')
  await runSql(ana, worked?.text ?? '')
  const trail =
    "select login, new_values -> 'dealer_limit' as after from app_public.audit_logs where login = 'ana'"
  expect(await rowsOf(trail)).toEqual([{ login: 'ana', after: 10 }])
  const [expiry] = await rowsOf("select rolvaliduntil > now() as is_set from pg_roles where rolname = 'ana'")
  expect(expiry).toEqual({ is_set: true })
  expect(await notes()).not.toBeNull()
  await runSql(superuserUrl, removed?.text ?? '')
  expect(await notes()).toBeNull()
})

test('the URL of the embedded superuser is read from the data directory', async () => {
  const [block] = blocksOf(guide, 'Work by hand, and break the glass').filter(({ tag }) => tag === 'run')
  const { output } = await runScript(`${block?.text}echo "$SUPERUSER_URL"`, {}, home)
  expect(output.trim()).toBe(server.superuserUrl)
})

test('the mutations and statements on prices, VAT, countries and limits run, and their dates begin at midnight of the country', async () => {
  const database = await cloneDatabase()
  const api = await startServer(database)
  try {
    for (const country of ['DE', 'AT']) await makeCountry(database.owner, { country })
    const dealerId = await makeDealer(database.owner, await makeUser(database.owner))
    await makePackage(database.owner)
    const token = await makeAdmin(database, api)
    const utc = `${database.ownerUrl}?options=-c%20timezone%3DUTC`
    for (const { language, text } of blocksOf(guide, 'Prices, VAT, countries, limits')) {
      if (language === 'sql') await runSql(utc, text)
      if (language !== 'graphql') continue
      const { status, errors } = await api.call(text.replace(/(?<=dealerId: ")[^"]+/, dealerId), { token })
      expect([text, status, errors]).toEqual([text, 200, []])
    }
    const year = new Date().getUTCFullYear()
    const { rows } = await database.owner.query(
      `select rate, lower(valid) at time zone 'UTC' = $1::date + time '23:00' as is_midnight from app_public.vat_rates
       where country = 'DE' and valid @> ($1::date + 2)::timestamptz`,
      [`${year}-12-31`],
    )
    expect(rows).toEqual([{ rate: '21.00', is_midnight: true }])
    const { rows: open } = await database.owner.query(
      'select country from app_public.country_currencies where closed_at is null',
    )
    expect(open).toEqual([{ country: 'AT' }])
  } finally {
    await api.stop()
    await database.drop()
  }
})

test('every date with a time of the docs names a zone', async () => {
  const files = [
    'docs/operations.md',
    'docs/architecture.md',
    'docs/errors.md',
    'README.md',
    'CONTRIBUTING.md',
  ]
  const texts = await Promise.all(files.map(file => readFile(file, 'utf8')))
  const dates = texts.join('\n').match(/.*(['"])20\d\d-\d\d-\d\d[^'"]*\1/g) ?? []
  expect(dates.length).toBeGreaterThan(5)
  // a month of the audit trail is a date
  const withoutZone = dates.filter(
    line =>
      !/['"]20\d\d-[-\d]+[ T][\d:.]+( [A-Z]\w+\/\w+|Z|[+-]\d\d(:\d\d)?)['"]$|drop_audit_partition\('[-\d]+'$/.test(
        line,
      ),
  )
  expect(withoutZone).toEqual([])
})
