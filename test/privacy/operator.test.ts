/** The statements of docs/privacy.md, with which an operator answers a person who cannot log in. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeUser, single } from '../support/testData.ts'

const EMAIL = 'person@example.com'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** The snippet of the guide that contains this text. */
function snippet(text: string): string {
  const found = [...readFileSync('docs/privacy.md', 'utf8').matchAll(/```sql\n([^`]*)```/g)]
    .map(([, sql = '']) => sql)
    .find(sql => sql.includes(text))
  if (found === undefined) throw new Error(`docs/privacy.md has no statement with ${text}`)
  return found
}

async function run(text: string): Promise<unknown[]> {
  // several statements have several results
  const results = (await database.owner.query(snippet(text))) as unknown as pg.QueryResult[]
  return results.flatMap(({ rows }) => rows.flatMap(row => Object.values(row)))
}

test('an operator exports and deletes the account of a person', async () => {
  const id = await makeUser(database.owner, EMAIL)
  expect(JSON.parse(String((await run('export_my_data'))[1])).account).toMatchObject({ id, email: EMAIL })
  expect(await run('delete_my_account')).toEqual([id, true])
  const name = 'select full_name from app_public.users where id = $1'
  expect(await single(database.owner, name, [id])).toBe('Deleted user')
})

test('an operator changes how long data is kept', async () => {
  await database.owner.query(snippet('operation_settings'))
  const { rows } = await database.owner.query(
    'select audit_retention_months, mail_retention_days, invitation_retention_days from app_private.operation_settings',
  )
  expect(rows).toEqual([
    { audit_retention_months: 24, mail_retention_days: 7, invitation_retention_days: 30 },
  ])
})
