/** The keys of login counters: no e-mail address can be made that uses up the counter of another account. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { login, register } from '../support/graphqlOperations.ts'
import { outcomeOf } from '../support/limits.ts'

let database: TestDatabase
let server: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

type Pair = [email: string, address: string | null]

async function keysOf(pairs: readonly Pair[]): Promise<string[]> {
  const { rows } = await database.superuser.query<{ key: string }>(
    `select encode(app_private.account_key(p.email, p.address), 'hex') as key
     from unnest($1::text[], $2::text[]) with ordinality as p (email, address, n) order by p.n`,
    [pairs.map(([email]) => email), pairs.map(([, address]) => address)],
  )
  return rows.map(({ key }) => key)
}

test('different pairs of account and address have different keys', async () => {
  const part = fc.string({ unit: fc.constantFrom('1', '2', ':', '\n', 'a', 'é'), maxLength: 4 })
  const pair = fc.tuple(part, fc.option(part)) as fc.Arbitrary<Pair>
  const pairs: Pair[] = [
    ['victim@example.com', '198.51.100.7'],
    ['victim@example.com\n198.51.100.7', null],
    ['victim@example.com12:198.51.100.7', null],
    ['18:victim@example.com12:198.51.100.7', null],
    ['victim@example.com1', '98.51.100.7'],
    ['victim@example.com', null],
    ['victim@example.com', ''],
    ...fc.sample(pair, { numRuns: 2_000, seed: 11 }),
  ]
  const different = new Map(pairs.map(one => [JSON.stringify(one), one]))
  const keys = await keysOf([...different.values()])
  expect(new Set(keys).size).toBe(different.size)
})

const CONTROLS = ['\n', '\r\n', '\t', '\u0000', '\u0085', '\u009f', '\u007f']

test.each(CONTROLS)(
  'an e-mail address with the control character %j is refused and counted nowhere',
  async control => {
    const email = `victim@example.com${control}198.51.100.7`
    const password = 'correct horse battery staple'
    for (const response of [
      await login(server, email, password),
      await register(server, { email, password }),
    ]) {
      expect([outcomeOf(response), response.errors[0]?.extensions.detail]).toEqual([
        '422 invalid_input',
        { field: 'email' },
      ])
    }
    const { rows } = await database.superuser.query('select from app_private.login_failures')
    expect(rows).toEqual([])
  },
)
