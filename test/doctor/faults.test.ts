/** The doctor finds each fault that a test plants in a transaction and rolls back. */
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { parseCrontab } from 'graphile-worker'
import { examine, queryCheck, RULES } from '../../src/doctor/examine.ts'
import type { Context, Finding } from '../../src/doctor/finding.ts'
import { become, cloneDatabase, type TestDatabase } from '../support/database.ts'
import { crontabRan, faults } from './faults.ts'
import { ruleFaults } from './ruleFaults.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

const SETTINGS = { now: Date.now, poolSize: 10, instances: 1 }

/** The findings that the owner gets after a superuser has run `sql`. */
async function findingsAfter(
  sql: string,
  settings: Partial<typeof SETTINGS> = {},
  run = (context: Context) => examine(context).then(all => all.flatMap(({ findings }) => findings)),
): Promise<Finding[]> {
  const client = await database.superuser.connect()
  try {
    await client.query('begin')
    await client.query(sql)
    await become(client, 'owner')
    return await run({ client, ...SETTINGS, ...settings })
  } finally {
    await client.query('rollback')
    client.release()
  }
}

async function runRules(context: Context): Promise<Finding[]> {
  await context.client.query('set search_path to pg_catalog')
  const found: Finding[] = []
  for (const file of RULES) found.push(...(await (await queryCheck(file)).run(context)))
  return found
}

async function expectFinding(found: Finding[], verdict: string, finding: RegExp): Promise<void> {
  expect(found).toContainEqual(expect.objectContaining({ verdict, finding: expect.stringMatching(finding) }))
}

test.each(faults)('the doctor finds %s', async (_fault, sql, verdict, finding) => {
  await expectFinding(await findingsAfter(sql), verdict, finding)
})

test.each(ruleFaults)('a rule of the doctor finds %s', async (_fault, sql, verdict, finding) => {
  await expectFinding(await findingsAfter(sql, {}, runRules), verdict, finding)
})

test('clocks that differ a little are a warning, and clocks that differ a lot a failure', async () => {
  const ahead = (milliseconds: number) => ({ now: () => Date.now() + milliseconds })
  await expectFinding(await findingsAfter('select', ahead(5_000)), 'WARN', /clocks differ by [45]\.\d s/)
  await expectFinding(await findingsAfter('select', ahead(-60_000)), 'FAIL', /clocks differ by (59|60)\.\d s/)
})

test('the doctor finds pools that need more connections than the server has', async () => {
  await expectFinding(await findingsAfter('select', { instances: 20, poolSize: 20 }), 'WARN', /may open 547/)
})

test('the doctor says which missed tasks the worker makes up for', async () => {
  const found = await findingsAfter(
    `${crontabRan('expire_subscriptions', '8 days')}; ${crontabRan('verify_ledger', '8 days')}`,
  )
  const remedy = (task: string) => found.find(({ finding }) => finding.startsWith(`${task} was due`))?.remedy
  expect(remedy('expire_subscriptions')).toMatch(/the worker makes up for it when it starts/)
  expect(remedy('verify_ledger')).toMatch(/the worker does not make up for the missed slots/)
})

test('a crontab task that was queued when it was last due is not missed', async () => {
  const items = parseCrontab(await readFile('tasks/crontab', 'utf8'))
  const ran = items.map(({ identifier }) => crontabRan(identifier, '0')).join(';')
  const found = await findingsAfter(ran)
  expect(found.filter(({ finding }) => /was due|worker/.test(finding))).toEqual([])
})
