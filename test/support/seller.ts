/** Sellers: users with a dealer and a token, each in a country of its own, so that no test meets another's rows. */

import type { TestServer } from './apiServer.ts'
import type { TestDatabase } from './database.ts'
import { type Country, makeCountry, makeDealer, makeUser } from './world.ts'

export type Seller = { userId: string; dealerId: string; token: string; country: string }

let countries = 0

/** A country code that no other test of the file uses: AA, AB, AC … */
export function newCountry(): string {
  const number = countries++
  return String.fromCharCode(65 + Math.floor(number / 26), 65 + (number % 26))
}

/** Configures a country, and a dealer there with its owner. */
export async function makeSeller(
  database: TestDatabase,
  server: TestServer,
  options: Country = {},
): Promise<Seller> {
  const country = await makeCountry(database.owner, { country: newCountry(), ...options })
  return joinCountry(database, server, country)
}

/** Another dealer with another owner, in a country that is configured already. */
export async function joinCountry(
  database: TestDatabase,
  server: TestServer,
  country: string,
): Promise<Seller> {
  const userId = await makeUser(database.owner)
  const dealerId = await makeDealer(database.owner, userId, country)
  return { userId, dealerId, token: await server.tokenFor(userId), country }
}

/** A token of an admin. */
export async function makeAdmin(database: TestDatabase, server: TestServer): Promise<string> {
  const userId = await makeUser(database.owner)
  await database.owner.query('update app_public.users set is_admin = true where id = $1', [userId])
  return server.tokenFor(userId, 'admin')
}
