/** Sellers: users with a dealer and a token. Each has its own country, so that no test reads rows of another test. */
import type { TestServer } from './apiServer.ts'
import type { TestDatabase } from './database.ts'
import { type Country, makeAdminUser, makeCountry, makeDealer, makeUser } from './testData.ts'

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

/** Makes a dealer in a country with missing or ambiguous configuration. */
export async function makeMisconfiguredSeller(
  database: TestDatabase,
  server: TestServer,
  change: 'no currency' | 'no VAT' | 'no price' | 'two prices' | 'two VAT rates',
): Promise<Seller> {
  if (change === 'no currency') return makeSellerIn(database, server, newCountry())
  const options = {
    ...(change === 'no VAT' ? { vatRate: null } : {}),
    ...(change === 'no price' ? { price: null } : {}),
  }
  const made = await makeSeller(database, server, options)
  if (change === 'two prices') {
    await database.owner.query(
      'alter table app_public.price_configs drop constraint if exists price_configs_one_at_a_time',
    )
    await database.owner.query(
      `insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid)
       values ($1, 'dealer', 'pay_per_listing', 6, 'EUR', 2, '[2021-01-01,)')`,
      [made.country],
    )
  } else if (change === 'two VAT rates') {
    await database.owner.query(
      'alter table app_public.vat_rates drop constraint if exists vat_rates_one_at_a_time',
    )
    await database.owner.query(
      "insert into app_public.vat_rates (country, rate, valid) values ($1, 7, '[2021-01-01,)')",
      [made.country],
    )
  }
  return made
}

/** Makes an admin and returns a token for it. */
export async function makeAdmin(database: TestDatabase, server: TestServer): Promise<string> {
  return server.tokenFor(await makeAdminUser(database.owner), 'admin')
}
