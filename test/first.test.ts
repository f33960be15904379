import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from './support/database.ts'
import { createListing, startServer, type TestServer } from './support/server.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser } from './support/world.ts'

let db: TestDatabase, server: TestServer
beforeAll(async () => { db = await cloneDatabase(); server = await startServer(db) })
afterAll(async () => { await server?.stop(); await db?.drop() })
test('x', async () => {
  await makeCountry(db.owner, { freeListings: 2 })
  const user = await makeUser(db.owner)
  const dealer = await makeDealer(db.owner, user)
  await makeSubscription(db.owner, dealer, { listings: 2 })
  const token = await server.tokenFor(user)
  for (let i = 0; i < 6; i++) console.log(JSON.stringify(await createListing(server, token, dealer)))
  console.log(JSON.stringify(await server.call('{ __typename  currentUser { id email }}', { token })))
  console.log(JSON.stringify(await server.call('{ quoteListing(dealerId: "'+dealer+'") { source netAmount vatRate grossAmount currency freeRemaining subscriptionRemaining } }', { token })))
})
