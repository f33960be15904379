/** Every state of a listing, every step and every role, over HTTP; and the same steps in the database, for every role there. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules, countDealerRows } from '../support/ledger.ts'
import { makeListing, outcome, STATUSES, type Status, type StepName, step } from '../support/listings.ts'
import { makeAdmin, makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makeUser, publish, single } from '../support/testData.ts'

type Allowed = Partial<Record<Status, Status>>

const newKey = () => ({ idempotencyKey: randomUUID() })

type Step = { input?: () => Record<string, unknown>; allowed: Allowed; name?: StepName; prepare?: string }

/** Where each step leads. From every other status it is a conflict with the present one. */
const MEMBER_STEPS: Record<string, Step> = {
  updateListing: {
    input: () => ({ title: 'Another title' }),
    allowed: { PENDING: 'PENDING', ACTIVE: 'ACTIVE', REJECTED: 'REJECTED' },
  },
  withdrawListing: { allowed: { PENDING: 'WITHDRAWN', ACTIVE: 'WITHDRAWN', WITHDRAWN: 'WITHDRAWN' } },
  markListingSold: { allowed: { ACTIVE: 'SOLD', SOLD: 'SOLD' } },
  renewListing: { input: newKey, allowed: { EXPIRED: 'ACTIVE' } },
  'renewListing in the last 30 days': {
    name: 'renewListing',
    input: newKey,
    allowed: { ACTIVE: 'ACTIVE', EXPIRED: 'ACTIVE' },
    prepare:
      "update app_public.listings set expires_at = now() + interval '10 days' where id = $1 and status = 'active'",
  },
  resubmitListing: { input: newKey, allowed: { REJECTED: 'PENDING' } },
}
const ADMIN_STEPS: Record<string, Step> = {
  APPROVE: { input: () => ({ decision: 'APPROVE' }), allowed: { PENDING: 'ACTIVE', ACTIVE: 'ACTIVE' } },
  REJECT: {
    input: () => ({ decision: 'REJECT', reason: 'No such car.' }),
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

/** The listing, the number of its audit entries, and the rows of its dealer. */
async function present(id: string) {
  const { rows } = await database.owner.query(
    `select l as listing, (select count(*) from app_public.audit_logs where resource_id = l.id) as entries
     from app_public.listings as l where l.id = $1`,
    [id],
  )
  return { ...rows[0], ...(await countDealerRows(database.owner, seller.dealerId)) }
}
const statusOf = async (id: string) =>
  (await single(database.owner, 'select status from app_public.listings where id = $1', [id])).toUpperCase()

async function walk(role: Role, name: StepName, { input = () => ({}), allowed, prepare }: Step) {
  const seen: Record<string, string> = {}
  const expected: Record<string, string> = {}
  const isAllowedRole = name === 'moderateListing' ? role === 'admin' : role === 'owner' || role === 'staff'
  const refused = role === 'visitor' ? '401 unauthenticated' : '403 forbidden'
  const call = async (listingId: string) =>
    outcome(await step(server, tokens[role], name, { listingId, ...input() }))
  for (const from of STATUSES) {
    const id = await makeListing(database.owner, seller, from)
    if (prepare !== undefined) await database.owner.query(prepare, [id])
    const before = await present(id)
    const to = isAllowedRole ? allowed[from] : undefined
    expected[from] = to ?? (isAllowedRole ? `409 conflict ${from}` : refused)
    seen[from] = await call(id)
    expect([from, await statusOf(id)]).toEqual([from, to ?? from])
    const isRepeated = to === from && !['updateListing', 'renewListing'].includes(name)
    if (to === undefined || isRepeated) expect([from, await present(id)]).toEqual([from, before])
  }
  const isRefusedUnread = role === 'visitor' || (name === 'moderateListing' && !isAllowedRole)
  expected.missing = isRefusedUnread ? refused : '404 not_found'
  seen.missing = await call(randomUUID())
  expect(seen).toEqual(expected)
}

const PAIRS = ROLES.flatMap(role =>
  Object.entries({ ...MEMBER_STEPS, ...ADMIN_STEPS }).map(([label, one]) => {
    const name = one.name ?? (label in ADMIN_STEPS ? 'moderateListing' : (label as StepName))
    return { role, label, name, one }
  }),
)

test.each(PAIRS)(
  'each step is done or refused by the status and the role, and a refusal changes nothing: $label by the $role',
  ({ role, name, one }) => walk(role, name, one),
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
