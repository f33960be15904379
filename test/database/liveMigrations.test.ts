/** Migrations of a live database: their locks give way to requests, and an index whose build was interrupted stops them. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { migrationsFolder } from '../../src/database/migrations.ts'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { interleave } from '../support/transactions.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

test('a migration that waits for a lock lets the requests behind it pass, and then gets its locks', () =>
  interleave(database, { holder: 'owner', migration: 'owner' }, async ({ holder, migration }) => {
    await holder.query('lock table app_public.invoice_items in access share mode')
    const { result } = await migration.startBlocked(
      "select app_private.lock_tables('app_public.listings', 'app_public.invoice_items')",
    )
    // in transactions of their own, which must end before the migration has its locks
    for (let time = 0; time < 3; time += 1)
      await database.owner.query('select from app_public.listings limit 1')
    await holder.commit()
    await result
    const { rows } = await migration.query(
      `select relation::regclass::text as name from pg_locks
       where pid = $1 and mode = 'AccessExclusiveLock' and locktype = 'relation' order by 1`,
      [migration.pid],
    )
    expect(rows.map(({ name }) => name)).toEqual(['app_public.invoice_items', 'app_public.listings'])
  }))

test.each([
  ['-require-valid-indexes.sql', 'ux_listing_consumptions_number'],
  ['-require-countries-of-listings.sql', 'ix_listings_active_is_premium_expression_id'],
])('the migration %s stops where the build of %s was interrupted', (ending, index) =>
  rolledBack(database, async client => {
    const committed = join(migrationsFolder, 'committed')
    const file = readdirSync(committed).find(name => name.endsWith(ending)) as string
    await client.query('select app_private.require_valid_indexes()')
    await client.query(
      `reset role;
       update pg_index set indisvalid = false where indexrelid = 'app_public.${index}'::regclass`,
    )
    await become(client, 'owner')
    expect(await refusal(client, readFileSync(join(committed, file), 'utf8'))).toBe('55000')
  }),
)
