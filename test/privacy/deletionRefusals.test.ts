/** `deleteMyAccount` over HTTP: the refusals. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { createListing } from '../support/apiServer.ts'
import { buyPackage, login } from '../support/graphqlOperations.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeMember } from '../support/members.ts'
import {
  type Account,
  newOwner,
  outcome,
  PASSWORD,
  type Recovery,
  startRecovery,
} from '../support/recovery.ts'
import { makeAdminUser, makePackage, makeSubscription, single } from '../support/testData.ts'

let world: Recovery

beforeAll(async () => {
  world = await startRecovery()
})

afterAll(() => world.stop())

const query = (sql: string, ...values: unknown[]) => world.database.owner.query(sql, values)
const ask = (sql: string, ...values: unknown[]) => single(world.database.owner, sql, values)
const remove = ({ token }: Account, password = PASSWORD) =>
  world.mutate('deleteMyAccount', { password }, token)
const isDeleted = ({ id }: Account) =>
  ask('select deleted_at is not null from app_public.users where id = $1', id)
const isOpen = (dealerId: string) => ask('select is_active from app_public.dealers where id = $1', dealerId)

async function refusal(account: Account) {
  const { status, errors } = await remove(account)
  const { code, detail } = errors[0]?.extensions ?? {}
  return { status, code, detail, isDeleted: await isDeleted(account) }
}
const refused = (detail: object) => ({ status: 409, code: 'conflict', detail, isDeleted: false })

test('a wrong password is refused and counts as a failed login; a refused deletion does not count', async () => {
  const { account, dealerId } = await newOwner(world)
  const failures = () =>
    ask(
      'select coalesce(max(failures), 0) from app_private.login_failures where email_hash = app_private.account_key($1)',
      account.email,
    )
  expect(await outcome(remove(account, 'a wrong password'))).toBe('401 invalid_credentials')
  expect([await failures(), await isDeleted(account)]).toEqual([1, false])
  await makeSubscription(world.database.owner, dealerId)
  expect(await outcome(remove(account))).toBe('409 conflict')
  expect(await failures()).toBe(1)
  await query(
    'update app_private.login_failures set failures = 5 where email_hash = app_private.account_key($1)',
    account.email,
  )
  // the right password comes from an address that is known by now, so it has a counter of its own
  await query(
    'delete from app_private.known_addresses where account_key = app_private.account_key($1)',
    account.email,
  )
  expect(await outcome(remove(account))).toBe('429 rate_limit_exceeded')
})

test('a request without a token is refused', async () => {
  expect(await outcome(world.mutate('deleteMyAccount', { password: PASSWORD }))).toBe('401 unauthenticated')
})

test('the last owner of a dealer with an open checkout is refused, until the offer has expired', async () => {
  const { account, dealerId } = await newOwner(world)
  await buyPackage(world.server, account.token, {
    dealerId,
    packageId: await makePackage(world.database.owner),
  })
  expect(await refusal(account)).toEqual(refused({ dealerId, reason: 'CHECKOUT' }))
  await query(
    "update app_public.checkouts set created_at = created_at - interval '15 days', expires_at = expires_at - interval '15 days' where dealer_id = $1",
    dealerId,
  )
  expect(await outcome(remove(account))).toBe('200')
  expect(await ask('select status from app_public.invoices where dealer_id = $1', dealerId)).toBe('void')
  expect(await brokenRules(world.database.owner)).toEqual([])
})

test('the last owner of a dealer that owes is refused, until another member is an owner', async () => {
  const { account, dealerId } = await newOwner(world)
  await createListing(world.server, account.token, dealerId)
  await createListing(world.server, account.token, dealerId)
  expect(await refusal(account)).toEqual(refused({ dealerId, reason: 'INVOICE' }))
  const colleague = await makeMember(world.database, world.server, dealerId, 'owner')
  await query('update app_public.users set locked_at = now() where id = $1', colleague.userId)
  expect(await refusal(account)).toEqual(refused({ dealerId, reason: 'INVOICE' }))
  await query('update app_public.users set locked_at = null where id = $1', colleague.userId)
  expect([await outcome(remove(account)), await isOpen(dealerId)]).toEqual(['200', true])
})

test.each([
  ['active', 'active', false, true],
  ['pending', 'pending', false, true],
  ['cancelled', 'cancelled', false, false],
  ['expired', 'expired', true, false],
  ['over, which no expiry run has seen yet', 'active', true, false],
])(
  'a subscription holds the last owner while it is pending or runs: %s',
  async (_name, status, isOver, holds) => {
    const { account, dealerId } = await newOwner(world)
    const times = isOver && { startAt: "now() - interval '40 days'", endAt: "now() - interval '10 days'" }
    await makeSubscription(world.database.owner, dealerId, { status, ...times })
    if (holds) expect(await refusal(account)).toEqual(refused({ dealerId, reason: 'SUBSCRIPTION' }))
    else expect(await outcome(remove(account))).toBe('200')
  },
)

test('staff may delete their accounts, whatever the dealer owes', async () => {
  const { dealerId } = await newOwner(world)
  await makeSubscription(world.database.owner, dealerId)
  const staff = await world.newAccount()
  await query("insert into app_public.dealer_users values ($1, $2, 'staff')", dealerId, staff.id)
  expect([await outcome(remove(staff)), await isOpen(dealerId)]).toEqual(['200', true])
})

test('the last admin is refused, until there is another one that is not locked', async () => {
  const account = await world.newAccount()
  await query('update app_public.users set is_admin = id = $1', account.id)
  const { data } = await login(world.server, account.email, PASSWORD)
  const admin = { ...account, token: data.login?.session.accessToken ?? '' }
  expect(await refusal(admin)).toEqual(refused({ reason: 'LAST_ADMIN' }))
  const other = await makeAdminUser(world.database.owner)
  await query('update app_public.users set locked_at = now() where id = $1', other)
  expect(await refusal(admin)).toEqual(refused({ reason: 'LAST_ADMIN' }))
  await query('update app_public.users set locked_at = null where id = $1', other)
  expect(await outcome(remove(admin))).toBe('200')
})
