/** docs/errors.md lists the rate limits of a new database. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

const ROW = /^\| `(\w+)` +\| (.*?) +\| (.*?) +\| ([\d,]+) in (\d+) (s|min) +\|$/gm
const SUBJECTS = { user: 'user', ip: 'address', user_or_ip: 'user, else address', account: 'e-mail address' }

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

test('each limit is documented with its fields, its subject and its figures', async () => {
  const documented = [...readFileSync('docs/errors.md', 'utf8').matchAll(ROW)].map(
    ([, scope, fields = '', subject, count = '', time, unit]) => ({
      scope,
      fields: Array.from(fields.matchAll(/`(\w+)`/g), ([, field]) => field).sort(),
      subject,
      count: Number(count.replace(',', '')),
      seconds: Number(time) * (unit === 'min' ? 60 : 1),
    }),
  )
  const { rows } = await database.owner.query<{ subject: keyof typeof SUBJECTS }>(
    `select scope, array(select split_part(f, '.', 2) from unnest(fields) as f order by 1) as fields, subject,
       max_count as count, window_seconds as seconds
     from app_public.rate_limit_policies order by scope`,
  )
  const byScope = documented.sort((a, b) => String(a.scope).localeCompare(String(b.scope)))
  expect(byScope).toEqual(rows.map(row => ({ ...row, subject: SUBJECTS[row.subject] })))
})
