/** API keys from their creation to their end: what is stored, how many live, and when one is no longer valid. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { hashToken, newToken } from '../../src/identity/secretTokens.ts'
import { type ApiKey, makeApiKey } from '../support/apiKeys.ts'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeMember, mutate, outcomeOf } from '../support/members.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeSellerIn, type Seller } from '../support/seller.ts'
import { makeCountry, single } from '../support/testData.ts'
import { committed, interleave, sqlstate } from '../support/transactions.ts'
import { until } from '../support/waits.ts'

const log = recordLog()
let database: TestDatabase
let server: TestServer
let country: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database, {}, log.log)
  await database.owner.query("update app_public.rate_limit_policies set mode = 'off'")
  country = await makeCountry(database.owner)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

const use = async (token: string) => outcomeOf(await server.call('{ dealers { totalCount } }', { token }))
const refused = ({ token }: ApiKey) =>
  until('the key is refused', async () => (await use(token)) === '401 unauthenticated')

async function start(): Promise<{ seller: Seller; key: ApiKey }> {
  const seller = await makeSellerIn(database, server, country)
  return { seller, key: await makeApiKey(server, seller.token, seller.dealerId) }
}

test('a key is shown once, and the database has its prefix and the hash of its secret', async () => {
  const seller = await makeSellerIn(database, server, country)
  const expiresAt = new Date(Date.now() + 86_400_000).toISOString()
  const input = { dealerId: seller.dealerId, name: '  Rene\u0301 ', expiresAt }
  const { result, data } = await mutate(server, 'createApiKey', input, seller.token)
  const secret = String(data.createApiKey?.secret)
  expect(secret).toMatch(/^fc_[A-Za-z0-9_-]{12}_[A-Za-z0-9_-]{43}$/)
  expect(result).toMatchObject({ name: 'Ren\u00e9', prefix: secret.slice(3, 15), revokedAt: null })
  expect(new Date(String(result?.expiresAt)).toISOString()).toBe(expiresAt)
  const { rows } = await database.owner.query(
    'select dealer_id, prefix, secret_hash, created_by from app_public.dealer_api_keys where id = $1',
    [result?.id],
  )
  expect(rows).toEqual([
    {
      dealer_id: seller.dealerId,
      prefix: secret.slice(3, 15),
      secret_hash: hashToken(secret.slice(16)),
      created_by: seller.userId,
    },
  ])
})

test('owners list the keys of their dealer, also those that are revoked, and staff see none', async () => {
  const { seller, key } = await start()
  await mutate(server, 'revokeApiKey', { apiKeyId: key.id }, seller.token)
  const staff = await makeMember(database, server, seller.dealerId, 'staff')
  const query = `{ dealer(id: "${seller.dealerId}") { apiKeys { nodes { id } } } }`
  for (const [token, nodes] of [
    [seller.token, [{ id: key.id }]],
    [staff.token, []],
  ] as const) {
    expect((await server.call(query, { token })).data).toEqual({ dealer: { apiKeys: { nodes } } })
  }
})

test.each([
  ['name', { name: '' }],
  ['name', { name: 'a\nb' }],
  ['name', { name: 'x'.repeat(101) }],
  ['expiresAt', { expiresAt: '2020-01-01T00:00:00Z' }],
])('a bad %s is refused with its field: %j', async (field, input) => {
  const seller = await makeSellerIn(database, server, country)
  const named = { dealerId: seller.dealerId, name: 'Stock', ...input }
  const { outcome, errors } = await mutate(server, 'createApiKey', named, seller.token)
  expect([outcome, errors[0]?.extensions.detail]).toEqual(['422 invalid_input', { field }])
})

test('of twenty creations at once ten succeed, and a revoked or expired key makes room', async () => {
  const seller = await makeSellerIn(database, server, country)
  const input = { dealerId: seller.dealerId, name: 'Stock' }
  const create = () => mutate(server, 'createApiKey', input, seller.token)
  const made = await Promise.all(Array.from({ length: 20 }, create))
  const outcomes = made.map(({ outcome }) => outcome).sort()
  expect(outcomes).toEqual([...Array(10).fill('200'), ...Array(10).fill('409 conflict')])
  const full = await create()
  expect(full.errors[0]?.extensions.detail).toEqual({ apiKeyLimit: 10 })
  const first = made.find(({ outcome }) => outcome === '200')?.result
  await mutate(server, 'revokeApiKey', { apiKeyId: first?.id }, seller.token)
  expect((await create()).outcome).toBe('200')
  await database.owner.query(
    `update app_public.dealer_api_keys set created_at = now() - interval '2 days', expires_at = now()
     where id = (select max(id::text)::uuid from app_public.dealer_api_keys where dealer_id = $1)`,
    [seller.dealerId],
  )
  expect([(await create()).outcome, (await create()).outcome]).toEqual(['200', '409 conflict'])
})

test('a tenth key that is not committed yet counts: the eleventh waits for it and is refused', async () => {
  const { dealerId, userId } = await makeSellerIn(database, server, country)
  const dealer = { dealer: userId }
  const create = "select app_public.create_api_key($1, 'Stock', null, 'aaaaaaaaaaaa', sha256('a'))"
  await committed(database, dealer, async client => {
    for (let number = 0; number < 9; number += 1) await client.query(create, [dealerId])
  })
  await interleave(database, { first: dealer, second: dealer }, async ({ first, second }) => {
    await first.query(create, [dealerId])
    const { result } = await second.startBlocked(create, [dealerId])
    await first.commit()
    expect(await sqlstate(result)).toBe('FC008')
  })
})

test('a key is replaced without a pause: both are valid until the old one is revoked', async () => {
  const { seller, key: old } = await start()
  const next = await makeApiKey(server, seller.token, seller.dealerId)
  const publish = async ({ token }: ApiKey) =>
    outcomeOf(await createListing(server, token, seller.dealerId, { currency: 'EUR' }))
  expect([await publish(old), await publish(next)]).toEqual(['200', '200'])
  await mutate(server, 'revokeApiKey', { apiKeyId: old.id }, seller.token)
  await refused(old)
  expect(await publish(next)).toBe('200')
})

test('a second revocation changes nothing, an unknown key is not found, and a closed dealer may revoke', async () => {
  const { seller, key } = await start()
  await database.owner.query('update app_public.dealers set is_active = false where id = $1', [
    seller.dealerId,
  ])
  const revoke = (apiKeyId: string) => mutate(server, 'revokeApiKey', { apiKeyId }, seller.token)
  const first = await revoke(key.id)
  expect(first.result?.revokedAt).toBeTruthy()
  expect((await revoke(key.id)).result).toEqual(first.result)
  const unknown = await revoke(randomUUID())
  expect([unknown.outcome, unknown.errors[0]?.extensions.detail]).toEqual([
    '404 not_found',
    { field: 'apiKeyId' },
  ])
})

test('a key ends at its time', async () => {
  const seller = await makeSellerIn(database, server, country)
  const expiresAt = new Date(Date.now() + 1_500).toISOString()
  const key = await makeApiKey(server, seller.token, seller.dealerId, { expiresAt })
  expect(await use(key.token)).toBe('200')
  await refused(key)
  expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt))
})

test('a key outlives the removal of its maker from the dealer', async () => {
  const { seller, key } = await start()
  const owner = await makeMember(database, server, seller.dealerId, 'owner')
  const member = { dealerId: seller.dealerId, userId: seller.userId }
  expect((await mutate(server, 'removeMember', member, owner.token)).outcome).toBe('200')
  const { data, errors } = await createListing(server, key.token, seller.dealerId)
  expect(errors).toEqual([])
  const id = data.createListing?.listing.id
  expect(await single(database.owner, 'select created_by from app_public.listings where id = $1', [id])).toBe(
    seller.userId,
  )
})

test.each(['locked_at', 'deleted_at'])(
  'a key is refused while its maker has %s, and afterwards works again',
  async column => {
    const { seller, key } = await start()
    expect(await use(key.token)).toBe('200')
    const set = (value: string) =>
      database.owner.query(`update app_public.users set ${column} = ${value} where id = $1`, [seller.userId])
    await set('now()')
    await refused(key)
    await set('null')
    await until('the key works again', async () => (await use(key.token)) === '200')
  },
)

test('the database refuses the write of a revoked key that a process still accepts', async () => {
  const { seller, key } = await start()
  expect(await use(key.token)).toBe('200')
  await database.owner.query('update app_public.dealer_api_keys set revoked_at = now() where id = $1', [
    key.id,
  ])
  const { status, errors } = await createListing(server, key.token, seller.dealerId)
  expect([status, errors[0]?.extensions.code]).toEqual([401, 'unauthenticated'])
})

test('garbage of every shape is refused with 401', async () => {
  const { key } = await start()
  const [prefix, secret] = [key.token.slice(3, 15), key.token.slice(16)]
  const garbage = [
    'fc_',
    'fc__',
    `fc_${prefix}`,
    `fc_${prefix}_`,
    `fc_${prefix}_${secret.slice(1)}`,
    `fc_${prefix}_${secret}a`,
    `fc_${prefix}_${newToken()}`,
    `fc_${prefix}_${secret.slice(0, -1)}${secret.endsWith('A') ? 'B' : 'A'}`,
    `fc_${newToken().slice(0, 12)}_${secret}`,
    `fc_${prefix}-${secret}`,
    `FC_${prefix}_${secret}`,
    `fc_${prefix}_${'_'.repeat(43)}`,
    `fc_${'%00'.repeat(4)}_${secret}`,
    `${key.token}.`,
    key.token.slice(3),
    `fc_${'a'.repeat(5_000)}`,
  ]
  for (const token of garbage) {
    const { status, headers, errors } = await server.call('{ __typename }', { token })
    expect([token, status, errors[0]?.extensions.code]).toEqual([token, 401, 'unauthenticated'])
    expect(headers.get('www-authenticate')).toContain('invalid_token')
  }
  expect(await use(key.token)).toBe('200')
})

test('the last use is recorded, and a second one within a minute is not', async () => {
  const { key } = await start()
  const usedAt = () =>
    single(database.owner, 'select last_used_at::text from app_public.dealer_api_keys where id = $1', [
      key.id,
    ])
  expect(await usedAt()).toBeNull()
  await use(key.token)
  await until('the use is recorded', async () => (await usedAt()) !== null)
  const first = await usedAt()
  await use(key.token)
  const record =
    'select app_public.record_api_key_use(dealer_id, id) from app_public.dealer_api_keys where id = $1'
  // as another process would
  await database.owner.query(record, [key.id])
  expect(await usedAt()).toEqual(first)
  await database.owner.query(
    "update app_public.dealer_api_keys set last_used_at = now() - interval '1 minute' where id = $1",
    [key.id],
  )
  await database.owner.query(record, [key.id])
  expect((await usedAt()) >= first).toBe(true)
})

test('no secret is in the log or in any row of the database', async () => {
  const { seller, key } = await start()
  const secret = key.token.slice(16)
  await createListing(server, key.token, seller.dealerId)
  await createListing(server, key.token, seller.dealerId, { title: '' })
  await use(`${key.token}x`)
  await use(`fc_${key.prefix}_${newToken()}`)
  await mutate(server, 'revokeApiKey', { apiKeyId: key.id }, seller.token)
  const { rows: tables } = await database.superuser.query<{ name: string }>(
    `select oid::regclass::text as name from pg_class where relkind in ('r', 'p') and not relispartition
       and relnamespace in ('app_public'::regnamespace, 'app_private'::regnamespace, 'graphile_worker'::regnamespace)`,
  )
  for (const { name } of tables) {
    const query = `select from ${name} as t where position($1 in t::text) > 0 or position($2 in t::text) > 0`
    const { rowCount } = await database.superuser.query(query, [secret, Buffer.from(secret).toString('hex')])
    expect([name, rowCount]).toEqual([name, 0])
  }
  expect(tables.length).toBeGreaterThan(25)
  expect(log.text()).not.toContain(secret)
  const hash = hashToken(secret).toString('hex')
  const audit = "select string_agg(a::text, ' ') from app_public.audit_logs as a"
  expect(String(await single(database.superuser, audit))).not.toContain(hash)
})
