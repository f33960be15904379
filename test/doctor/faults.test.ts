/** Each fault that the doctor is there for, planted in a transaction that is rolled back. */
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { parseCrontab } from 'graphile-worker'
import type { Finding } from '../../src/doctor/check.ts'
import { examine } from '../../src/doctor/examine.ts'
import { become, cloneDatabase, type TestDatabase } from '../support/database.ts'
import { crontabRan, faults } from './faults.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

const CALM = { now: Date.now, poolSize: 10, instances: 1 }

/** What the owner is told after a superuser has run `sql`. */
async function findingsAfter(sql: string, surroundings: Partial<typeof CALM> = {}): Promise<Finding[]> {
  const client = await database.superuser.connect()
  try {
    await client.query('begin')
    await client.query(sql)
    await become(client, 'owner')
    const examined = await examine({ client, ...CALM, ...surroundings })
    return examined.flatMap(({ findings }) => findings)
  } finally {
    await client.query('rollback')
    client.release()
  }
}

async function expectFinding(found: Finding[], verdict: string, finding: RegExp): Promise<void> {
  expect(found).toContainEqual(expect.objectContaining({ verdict, finding: expect.stringMatching(finding) }))
}

test.each(faults)('the doctor finds %s', async (_fault, sql, verdict, finding) => {
  await expectFinding(await findingsAfter(sql), verdict, finding)
})

test('the doctor finds clocks that differ, and tells a little from a lot', async () => {
  const ahead = (milliseconds: number) => ({ now: () => Date.now() + milliseconds })
  await expectFinding(await findingsAfter('select', ahead(5_000)), 'WARN', /clocks differ by [45]\.\d s/)
  await expectFinding(await findingsAfter('select', ahead(-60_000)), 'FAIL', /clocks differ by (59|60)\.\d s/)
})

test('the doctor finds pools that the server has no room for', async () => {
  await expectFinding(await findingsAfter('select', { instances: 20, poolSize: 20 }), 'WARN', /may open 525/)
})

test('the doctor says which of the missed tasks is made up for after any time', async () => {
  const found = await findingsAfter(
    `${crontabRan('expire_subscriptions', '8 days')}; ${crontabRan('verify_ledger', '8 days')}`,
  )
  const remedy = (task: string) => found.find(({ finding }) => finding.startsWith(`${task} was due`))?.remedy
  expect(remedy('expire_subscriptions')).toMatch(/a worker that starts makes up for it/)
  expect(remedy('verify_ledger')).toMatch(/slots of that time are not made up for/)
})

test('the doctor names no crontab task as missed that was queued at its last time', async () => {
  const items = parseCrontab(await readFile('tasks/crontab', 'utf8'))
  const ran = items.map(({ identifier }) => crontabRan(identifier, '0')).join(';')
  const found = await findingsAfter(ran)
  expect(found.filter(({ finding }) => /was due|worker/.test(finding))).toEqual([])
})
