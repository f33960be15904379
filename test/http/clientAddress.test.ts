/** One canonical form of the client's address for database, audit and log, however the proxy writes it. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { behindProxy, outcomeOf } from '../support/limits.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeAdmin } from '../support/seller.ts'
import { makeCountry, makeUser } from '../support/testData.ts'
import { until } from '../support/waits.ts'

let database: TestDatabase
let server: TestServer
const log = recordLog()

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database, behindProxy, log.log)
  await makeCountry(database.owner)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

/** Entries that a proxy writes into X-Forwarded-For, each with the address that the audit trail shows. */
const entries: [string, string][] = [
  ['203.0.113.1:51234', '203.0.113.1'],
  ['::ffff:203.0.113.2', '203.0.113.2'],
  ['[2001:db8:1:1::3]:443', '2001:db8:1:1::3'],
  ['2001:DB8:1:1:0:0:0:4%eth0', '2001:db8:1:1::4'],
  ['unknown', '127.0.0.1'],
  ['203.0.113.5, not an address', '127.0.0.1'],
]

const CREATE = `mutation {
  createDealer(input: {companyName: "Test", country: "DE", dealerType: GENERAL}) { dealer { id } }
}`
const PAY =
  'mutation { payInvoice(input: {invoiceId: "0190a000-0000-7000-8000-000000000001"}) { invoice { id } } }'

test.each(entries)(
  'a request from "%s" is served, and its audit rows have the address %s',
  async (entry, ip) => {
    const headers = { 'x-forwarded-for': entry }
    const userId = await makeUser(database.owner)
    const created = await server.call(CREATE, { headers, token: await server.tokenFor(userId) })
    expect(outcomeOf(created)).toBe('200')
    const { rows } = await database.superuser.query(
      'select distinct host(ip) as ip from app_public.audit_logs where actor = $1',
      [userId],
    )
    expect(rows).toEqual([{ ip }])
    const paid = await server.call(PAY, { headers, token: await makeAdmin(database, server) })
    expect(outcomeOf(paid)).toBe('404 not_found')
  },
)

test.each(entries)('each login from "%s" is counted and logged under the same address', async entry => {
  const email = `${entry.replaceAll(/\W/g, '')}@example.com`
  const query = `mutation { login(input: {email: "${email}", password: "wrong password"}) { session { expiresAt } } }`
  const found: string[] = []
  for (let port = 1; port <= 6; port += 1) {
    // another port for each connection, as proxies write it
    const headers = { 'x-forwarded-for': entry.replace(/:51234$|:443$/, `:${port}`) }
    found.push(outcomeOf(await server.call(query, { headers })))
  }
  expect(found).toEqual([...Array(5).fill('401 invalid_credentials'), '429 rate_limit_exceeded'])
  const [, prefix = ''] = entries.find(([one]) => one === entry) ?? []
  const counted = prefix.includes(':') ? '2001:db8:1::/56' : prefix
  await until('the refusal is logged', () =>
    log.lines.some(({ scope, address }) => scope === 'auth_account' && address === counted),
  )
})
