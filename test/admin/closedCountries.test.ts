/** Closed countries: their sales, and how an admin opens them again. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeAdmin, newCountry } from '../support/seller.ts'
import { makeAdminUser, makeCountry, makePackage } from '../support/testData.ts'
import { interleave } from '../support/transactions.ts'
import { admin, completeInputs, type Mutation, PACKAGE, trailOf } from './calls.ts'

let database: TestDatabase
let server: TestServer
let token: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  token = await makeAdmin(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

const send = (name: Mutation, input: Record<string, unknown>) => admin(server, token, name, input)
const actionsOf = async (work: () => Promise<unknown>) =>
  (await trailOf(database, work)).map(({ action }) => action)
const country = (options = {}) => makeCountry(database.owner, { country: newCountry(), ...options })

test('a closed country sells nothing, and is opened again at the values given', async () => {
  const code = await country()
  const packageId = await makePackage(database.owner, { country: code })
  const { row } = await send('closeCountry', { country: code })
  expect(row).toMatchObject({ country: code, closedAt: expect.any(String) })
  expect(await actionsOf(() => send('closeCountry', { country: code }))).toEqual([])
  expect((await send('retirePackage', { packageId })).row).toMatchObject({ isActive: false })
  const save = { ...PACKAGE, country: code, key: 'new' }
  expect(await send('savePackage', save)).toMatchObject({ code: 'conflict', field: 'country' })
  const opening = completeInputs(code).openCountry
  expect(await send('openCountry', { ...opening, currency: 'CHF' })).toMatchObject({
    status: 409,
    code: 'conflict',
    field: 'currency',
  })
  const reopened = await send('openCountry', opening)
  expect(reopened.row).toMatchObject({ closedAt: null })
  const { rows } = await database.owner.query(
    'select rate from app_public.vat_rates where country = $1 and valid @> now()',
    [code],
  )
  expect(rows).toEqual([{ rate: '20.00' }])
})

test('openCountry that waited for setPrice writes its price last', async () => {
  const code = await country()
  await send('closeCountry', { country: code })
  const roles = {
    first: { admin: await makeAdminUser(database.owner) },
    second: { admin: await makeAdminUser(database.owner) },
  }
  await interleave(database, roles, async ({ first, second }) => {
    await first.query("select app_public.set_price($1, 'dealer', 'pay_per_listing', 7)", [code])
    const { result } = await second.startBlocked("select app_public.open_country($1, 'EUR', 20, 6)", [code])
    await first.commit()
    await result
    await second.commit()
  })
  const { rows } = await database.owner.query(
    "select unit_price_net from app_public.price_configs where country = $1 and segment = 'dealer' order by price_version desc limit 1",
    [code],
  )
  expect(rows).toEqual([{ unit_price_net: '6.00' }])
})

test.each([
  ['the same price, both succeed', 6, undefined],
  ['different prices, one gets a conflict', 7, 'FC008'],
] as const)('of two admins who open a country at once with %s', async (_, price, code) => {
  const closed = await country()
  await send('closeCountry', { country: closed })
  const open = "select app_public.open_country($1, 'EUR', 20, $2)"
  const roles = {
    first: { admin: await makeAdminUser(database.owner) },
    second: { admin: await makeAdminUser(database.owner) },
  }
  await interleave(database, roles, async ({ first, second }) => {
    await first.query(open, [closed, 6])
    const { result } = await second.startBlocked(open, [closed, price])
    await first.commit()
    expect(
      await result.then(
        () => undefined,
        error => error.code,
      ),
    ).toBe(code)
  })
})
