/** Sellers: users with a dealer and a token. Each has its own country, so that no test reads rows of another test. */
import type { TestServer } from './apiServer.ts'
import type { TestDatabase } from './database.ts'
import { type Country, makeCountry, makeDealer, makeUser } from './testData.ts'

export type Seller = { userId: string; dealerId: string; token: string; country: string }

let countries = 0

/** Returns a country code that no other test of the file uses: AA, AB, AC … */
export function newCountry(): string {
  const number = countries++
  return String.fromCharCode(65 + Math.floor(number / 26), 65 + (number % 26))
}

/** Configures a new country and makes a dealer with an owner in it. */
export async function makeSeller(
  database: TestDatabase,
  server: TestServer,
  options: Country = {},
): Promise<Seller> {
  const country = await makeCountry(database.owner, { country: newCountry(), ...options })
  return makeSellerIn(database, server, country)
}

/** Makes another dealer with another owner in an existing country. */
export async function makeSellerIn(
  database: TestDatabase,
  server: TestServer,
  country: string,
): Promise<Seller> {
  const userId = await makeUser(database.owner)
  const dealerId = await makeDealer(database.owner, userId, country)
  return { userId, dealerId, token: await server.tokenFor(userId), country }
}

/** Makes an admin and returns a token for it. */
export async function makeAdmin(database: TestDatabase, server: TestServer): Promise<string> {
  const userId = await makeUser(database.owner)
  await database.owner.query('update app_public.users set is_admin = true where id = $1', [userId])
  return server.tokenFor(userId, 'admin')
}
