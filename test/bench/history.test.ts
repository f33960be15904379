/** The history that the benchmark writes for its dealers: it has the requested size and breaks no ledger rule. */
import { expect, test } from '@jest/globals'
import { fillLedger } from '../../bench/support/history.ts'
import { cloneDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeCountry, makeDealer, makePackage, makeUser } from '../support/testData.ts'

const SILENT = { begin() {}, expect() {}, step() {}, clear() {} }

test('filling the history, for all dealers or for one, gives the requested number of listings and breaks no ledger rule', async () => {
  const database = await cloneDatabase()
  try {
    const fleetUserId = await makeUser(database.owner)
    for (const country of ['DE', 'AT']) {
      await makeCountry(database.owner, { country, freeListings: country === 'DE' ? 2 : 0 })
      await makePackage(database.owner, { country })
      for (let number = 0; number < 3; number += 1) await makeDealer(database.owner, fleetUserId, country)
    }
    const world = { database, fleetUserId }
    await fillLedger(world, 42, SILENT)
    await fillLedger(world, 198, SILENT)
    const { rows: dealers } = await database.owner.query<{ id: string }>('select id from app_public.dealers')
    await fillLedger(world, 60, SILENT, dealers[0]?.id)
    const { rows } = await database.owner.query(
      `select (select count(*)::integer from app_public.listings) as listings,
         (select count(*)::integer from app_public.listing_consumptions) as consumptions,
         (select count(*)::integer from app_public.listings where dealer_id = $1) as own`,
      [dealers[0]?.id],
    )
    expect(rows).toEqual([{ listings: 300, consumptions: 300, own: 100 }])
    expect(await brokenRules(database.owner)).toEqual([])
  } finally {
    await database.drop()
  }
})
