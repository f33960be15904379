/** Every state of a listing, every step and every role, over HTTP; and the same steps in the database, for every role there. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeListing, outcome, STATUSES, type Status, type StepName, step } from '../support/listings.ts'
import { makeAdmin, makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makeUser, publish, single } from '../support/testData.ts'

type Allowed = Partial<Record<Status, Status>>

const newKey = () => ({ idempotencyKey: randomUUID() })

/** Where each step leads. From every other status it is a conflict with the present one. */
const MEMBER_STEPS: Partial<Record<StepName, { input?: () => Record<string, unknown>; allowed: Allowed }>> = {
  updateListing: {
    input: () => ({ title: 'Another title' }),
    allowed: { PENDING: 'PENDING', ACTIVE: 'ACTIVE', REJECTED: 'REJECTED' },
  },
  withdrawListing: { allowed: { PENDING: 'WITHDRAWN', ACTIVE: 'WITHDRAWN', WITHDRAWN: 'WITHDRAWN' } },
  markListingSold: { allowed: { ACTIVE: 'SOLD', SOLD: 'SOLD' } },
  // an active listing only in its last 30 days
  renewListing: { input: newKey, allowed: { EXPIRED: 'ACTIVE' } },
  resubmitListing: { input: newKey, allowed: { REJECTED: 'PENDING' } },
}
const ADMIN_STEPS: Record<string, { input: Record<string, unknown>; allowed: Allowed }> = {
  APPROVE: { input: { decision: 'APPROVE' }, allowed: { PENDING: 'ACTIVE', ACTIVE: 'ACTIVE' } },
  REJECT: {
    input: { decision: 'REJECT', reason: 'No such car.' },
    allowed: { PENDING: 'REJECTED', ACTIVE: 'REJECTED', REJECTED: 'REJECTED' },
  },
}
const ROLES = ['owner', 'staff', 'other dealer', 'admin', 'visitor'] as const
type Role = (typeof ROLES)[number]

let database: TestDatabase
let server: TestServer
let seller: Seller
const tokens: Partial<Record<Role, string>> = {}

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  seller = await makeSeller(database, server)
  tokens.owner = seller.token
  const staffId = await makeUser(database.owner)
  await database.owner.query(
    "insert into app_public.dealer_users (dealer_id, user_id, role) values ($1, $2, 'staff')",
    [seller.dealerId, staffId],
  )
  tokens.staff = await server.tokenFor(staffId)
  tokens['other dealer'] = (await makeSellerIn(database, server, seller.country)).token
  tokens.admin = await makeAdmin(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const statusOf = async (id: string) =>
  (await single(database.owner, 'select status from app_public.listings where id = $1', [id])).toUpperCase()

async function walk(role: Role, name: StepName, input: () => Record<string, unknown>, allowed: Allowed) {
  const seen: Record<string, string> = {}
  const expected: Record<string, string> = {}
  for (const from of STATUSES) {
    const id = await makeListing(database.owner, seller, from)
    const isAllowedRole = name === 'moderateListing' ? role === 'admin' : role === 'owner' || role === 'staff'
    const to = isAllowedRole ? allowed[from] : undefined
    expected[from] =
      to ??
      { visitor: '401 unauthenticated' }[role as string] ??
      (isAllowedRole ? `409 conflict ${from}` : '403 forbidden')
    seen[from] = outcome(await step(server, tokens[role], name, { listingId: id, ...input() }))
    expect([from, await statusOf(id)]).toEqual([from, to ?? from])
  }
  expect(seen).toEqual(expected)
}

const PAIRS = ROLES.flatMap(role => [
  ...Object.entries(MEMBER_STEPS).map(([name, { input, allowed }]) => ({
    role,
    label: name,
    name: name as StepName,
    input: input ?? (() => ({})),
    allowed,
  })),
  ...Object.entries(ADMIN_STEPS).map(([label, { input, allowed }]) => ({
    role,
    label,
    name: 'moderateListing' as const,
    input: () => input,
    allowed,
  })),
])

test.each(PAIRS)(
  'each step is done or refused by the status and the role: $label by the $role',
  ({ role, name, input, allowed }) => walk(role, name, input, allowed),
)

const STEPS = [
  ...['PENDING ACTIVE', 'PENDING REJECTED', 'PENDING WITHDRAWN', 'ACTIVE REJECTED', 'ACTIVE WITHDRAWN'],
  ...['ACTIVE SOLD', 'ACTIVE EXPIRED', 'REJECTED PENDING', 'EXPIRED ACTIVE'],
]

test.each(STATUSES)('the database does only an allowed step, even for a superuser: from %s', from =>
  rolledBack(database, async client => {
    await client.query("select set_config('forecourt.user_id', $1, true)", [seller.userId])
    const id = await publish(client, seller.dealerId)
    await client.query('reset role')
    await client.query("set local session_replication_role to 'replica'")
    await client.query('update app_public.listings set status = $2 where id = $1', [id, from.toLowerCase()])
    await client.query("set local session_replication_role to 'origin'")
    for (const role of ['forecourt_test_owner', 'none']) {
      for (const to of STATUSES) {
        await client.query('savepoint step')
        await client.query(`set local role ${role}`)
        const update = 'update app_public.listings set status = $2 where id = $1'
        const values = [id, to.toLowerCase()]
        if (from === to || STEPS.includes(`${from} ${to}`)) await client.query(update, values)
        else expect([to, await refusal(client, update, values)]).toEqual([to, 'FC008'])
        await client.query('rollback to savepoint step')
      }
    }
  }),
)

test('every step is recorded with its actor and both statuses, and a repeated call records nothing', async () => {
  const id = await makeListing(database.owner, seller)
  const call = (token: string | undefined, name: StepName, input = {}) =>
    step(server, token, name, { listingId: id, ...input })
  for (let time = 0; time < 2; time += 1) {
    await call(tokens.admin, 'moderateListing', { decision: 'APPROVE' })
  }
  for (let time = 0; time < 2; time += 1) await call(tokens.owner, 'markListingSold')
  const { rows } = await database.owner.query(
    `select action, actor = $2 as by_owner, old_values ->> 'status' as old, new_values ->> 'status' as new
     from app_public.audit_logs where resource_id = $1 order by id`,
    [id, seller.userId],
  )
  expect(rows).toEqual([
    { action: 'APPROVE_LISTING', by_owner: false, old: 'pending', new: 'active' },
    { action: 'SELL_LISTING', by_owner: true, old: 'active', new: 'sold' },
  ])
})
