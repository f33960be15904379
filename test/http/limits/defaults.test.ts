/** The limits of the build and those of the database. */
import { expect, test } from '@jest/globals'
import { defaultPolicies } from '../../../src/http/limits/defaults.ts'
import { cloneDatabase } from '../../support/database.ts'

test('the limits that a table without rows leaves in force are those of a migrated one', async () => {
  const database = await cloneDatabase()
  try {
    const { rows } = await database.owner.query(
      `select scope, subject, fields, max_count as "maxCount", window_seconds as "windowSeconds", cost, fallback
       from app_public.rate_limit_policies order by scope`,
    )
    expect(rows).toEqual(defaultPolicies.map(({ mode: _, ...policy }) => policy))
  } finally {
    await database.drop()
  }
})
