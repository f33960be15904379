/** `npm run admin` in real processes: what each command prints, and its exit code. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { killLeftOvers, start, startOn } from './support/commandProcess.ts'
import { cloneDatabase, emptyDatabase, type TestDatabase } from './support/database.ts'
import { makeUser } from './support/testData.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  for (const name of ['boss', 'second']) await makeUser(database.owner, `${name}@example.com`)
})

afterEach(killLeftOvers)

afterAll(() => database.drop())

async function run(args: string, on: Pick<TestDatabase, 'ownerUrl'> = database) {
  const running = startOn(on, `admin ${args}`)
  const code = await running.ended
  return { code, output: running.output() }
}

/** Runs a command that must be refused with sentences for a person. */
async function refused(args: string, on?: TestDatabase): Promise<string> {
  const { code, output } = await run(args, on)
  expect(code).toBe(1)
  expect(output.trim()).toMatch(/^[A-Z][^\n]*$/)
  expect(output).not.toMatch(/^\s+at |\.ts:\d|violates/m)
  return output
}

test('admins are granted, listed and revoked, and to repeat a command is no error', async () => {
  expect((await run('list')).output).toContain('npm run admin -- grant EMAIL')
  for (const command of ['grant boss@example.com', 'grant Boss@Example.com', 'grant second@example.com'])
    expect((await run(command)).code).toBe(0)
  expect(await run('list')).toEqual({ code: 0, output: 'boss@example.com\nsecond@example.com\n' })
  const revoked = await run('revoke boss@example.com')
  expect(revoked).toEqual({ code: 0, output: expect.stringContaining('sessions of this user have ended') })
  expect((await run('revoke boss@example.com')).code).toBe(0)
  expect(await run('list')).toEqual({ code: 0, output: 'second@example.com\n' })
})

test('an e-mail address without an account is refused with the way to register it', async () => {
  expect(await refused('grant stranger@example.com')).toMatch(/stranger@example\.com.*register/)
})

test('a country is opened once, to repeat it is no error, and other values are refused with the next step', async () => {
  const open = 'open-country DE --currency EUR --vat 19 --price 5.00'
  const { code, output } = await run(open)
  expect([code, output]).toEqual([0, expect.stringContaining('DE is open')])
  expect(output).toContain('5.00 EUR')
  expect(await run(open.replace('5.00', '5'))).toEqual({ code, output })
  for (const [from, to] of [
    ['--vat 19', '--vat 7'],
    ['5.00', '6'],
    ['EUR', 'CHF'],
  ] as const)
    expect(await refused(open.replace(from, to))).toContain('docs/operations.md')
  const { rows } = await database.owner.query(
    'select country, rate, (select count(*)::integer from app_public.price_configs) as prices from app_public.vat_rates',
  )
  expect(rows).toEqual([{ country: 'DE', rate: '19.00', prices: 2 }])
})

test.each([
  ['open-country at --currency EUR --vat 20 --price 5', /two capital letters/],
  ['open-country AT --currency euro --vat 20 --price 5', /three capital letters/],
  ['open-country AT --currency EUR --vat 120 --price 5', /from 0 to 100/],
  ['open-country AT --currency EUR --vat 20 --price 5.001', /2 decimal places/],
  ['open-country AT --currency EUR --vat 20% --price 5', /--vat .*20%/],
  ['open-country AT --currency EUR --vat 20 --price 5,00', /--price .*5,00/],
])('a wrong value is refused with what is expected: %s', async (command, expected) => {
  expect(await refused(command)).toMatch(expected)
})

test.each([
  '',
  'grant',
  'list all',
  'grant boss@example.com --vat 19',
  'open-country AT --currency EUR --vat 20',
  'open-country AT --currency EUR --vat 20 --price 5 --force',
])('any other arguments get the usage: %s', async command => {
  const { code, output } = await run(command)
  expect([code, output]).toEqual([1, expect.stringMatching(/^Usage: npm run admin/)])
})

test('a database that was not migrated is refused with the command to run', async () => {
  const unmigrated = await emptyDatabase()
  try {
    expect(await refused('list', unmigrated)).toContain('npm run migrate')
  } finally {
    await unmigrated.drop()
  }
})

test('a server that does not respond is refused with the variable to check, and without its password', async () => {
  const running = start('admin list', { DATABASE_URL: 'postgres://nobody:secret@127.0.0.1:1/none' })
  expect([await running.ended, running.output()]).toEqual([1, expect.stringContaining('DATABASE_URL')])
  expect(running.output()).not.toContain('secret')
})
