/** Sessions in SQL: what ends one, what a refresh token is worth, and what happens at the same moment. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { atEach, cloneFrozen, freeze, NOON } from '../support/frozenClock.ts'
import { makeUser, single } from '../support/testData.ts'
import { committed, sqlstate } from '../support/transactions.ts'

const OPEN = 'select app_private.open_session($1, $2) as id'
const REFRESH = "select session_id from app_public.refresh_session($1, $2, '192.0.2.7')"
const LOGIN = `select session_id from app_public.log_in($1, '192.0.2.1', '\\x00', 5, $2, $3)`
const LOCK = "select app_private.lock_user($1, 'A test.')"
const PASSWORD = '$argon2id$none'

let database: TestDatabase
let frozen: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  frozen = await cloneFrozen()
})

afterAll(async () => {
  await database.drop()
  await frozen.drop()
})

const newHash = () => randomBytes(32)
const sessionsOf = async (db: Pick<pg.ClientBase, 'query'>, userId: string) =>
  (await db.query('select id from app_private.sessions where user_id = $1 order by id', [userId])).rows.map(
    ({ id }) => id as string,
  )
const revoked = async (db: Pick<pg.ClientBase, 'query'>) =>
  (await db.query('select unnest(app_public.revoked_session_ids()) as id')).rows.map(({ id }) => id as string)

/** Runs `work` with a user that has two sessions, and rolls back. */
function withSessions(
  work: (client: pg.PoolClient, userId: string, sessions: [string, string]) => Promise<void>,
): Promise<void> {
  return rolledBack(database, async client => {
    const userId = await makeUser(client)
    const open = () => single(client, OPEN, [userId, newHash()])
    await work(client, userId, [await open(), await open()])
  })
}

const ENDS: Record<string, string[]> = {
  'is locked': [LOCK],
  'is locked by a DBA': ['update app_public.users set locked_at = now() where id = $1'],
  'is deleted': [
    'delete from app_private.user_passwords where user_id = $1',
    'delete from app_public.users where id = $1',
  ],
  'has deleted the account': ['update app_public.users set deleted_at = now() where id = $1'],
  'is no longer an admin': [
    'update app_public.users set is_admin = true where id = $1',
    'update app_public.users set is_admin = false where id = $1',
  ],
  'is logged out everywhere': ['select app_private.end_sessions($1)'],
}

test.each(Object.entries(ENDS))(
  'a user that %s has no session any more, and all are revoked',
  (_end, statements) =>
    withSessions(async (client, userId, sessions) => {
      for (const sql of statements) await client.query(sql, [userId])
      expect(await sessionsOf(client, userId)).toEqual([])
      expect((await revoked(client)).sort()).toEqual(sessions)
    }),
)

test.each([
  'update app_public.users set is_admin = true where id = $1',
  "update app_public.users set full_name = 'Another' where id = $1",
  'update app_public.users set locked_at = null, deleted_at = null where id = $1',
])('a change that takes nothing away ends no session: %s', sql =>
  withSessions(async (client, userId, sessions) => {
    await client.query(sql, [userId])
    expect(await sessionsOf(client, userId)).toEqual(sessions)
  }),
)

test('all sessions of a user can be ended, and no others', () =>
  withSessions(async (client, userId, [first, second]) => {
    const other = await makeUser(client)
    const others = await single(client, OPEN, [other, newHash()])
    await client.query('select app_private.end_sessions($1)', [userId])
    expect([await sessionsOf(client, userId), await revoked(client)]).toEqual([[], [first, second]])
    expect(await sessionsOf(client, other)).toEqual([others])
  }))

test('a logout ends a session of the caller, and none of another user', () =>
  withSessions(async (client, userId, [first, second]) => {
    const others = await single(client, OPEN, [await makeUser(client), newHash()])
    await become(client, { dealer: userId })
    for (const session of [others, first])
      await client.query('select app_public.logout($1, false)', [session])
    await become(client, 'owner')
    expect([await sessionsOf(client, userId), await revoked(client)]).toEqual([[second], [first]])
  }))

test('a lock and an unlock are recorded once with the reason, and need a reason and a user', () =>
  withSessions(async (client, userId) => {
    for (const name of ['lock_user', 'lock_user', 'unlock_user', 'unlock_user'])
      await client.query(`select app_private.${name}($1, ' Fraud. ')`, [userId])
    const { rows } = await client.query(
      `select action, old_values ->> 'lockedAt' is null as was_open, new_values ->> 'reason' as reason
       from app_public.audit_logs where resource_id = $1 order by id`,
      [userId],
    )
    expect(rows).toEqual([
      { action: 'LOCK_USER', was_open: true, reason: 'Fraud.' },
      { action: 'UNLOCK_USER', was_open: false, reason: 'Fraud.' },
    ])
    for (const name of ['lock_user', 'unlock_user']) {
      const call = `select app_private.${name}($1, $2)`
      for (const reason of [null, ' \n']) expect(await refusal(client, call, [userId, reason])).toBe('FC010')
      expect(await refusal(client, call, ['0190a000-0000-7000-8000-000000000001', 'A test.'])).toBe('FC004')
    }
  }))

test('a locked user that knows its password is told so, and a wrong password reveals nothing', () =>
  rolledBack(database, async client => {
    const userId = await makeUser(client, 'locked@example.com')
    await client.query(LOCK, [userId])
    const login = (password: string) => [`locked@example.com`, password, newHash()]
    expect(await refusal(client, LOGIN, login(PASSWORD))).toBe('FC003')
    expect((await client.query(LOGIN, login('wrong'))).rows).toEqual([{ session_id: null }])
    expect((await client.query(LOGIN, ['nobody@example.com', PASSWORD, newHash()])).rows).toEqual([
      { session_id: null },
    ])
    await client.query("select app_private.unlock_user($1, 'A test.')", [userId])
    expect((await client.query(LOGIN, login(PASSWORD))).rows).toEqual([{ session_id: expect.any(String) }])
  }))

/** A session that was opened at noon, refreshed at `usedAt` if given. */
async function opened(client: pg.PoolClient, usedAt?: string) {
  const now = await single(client, "select current_setting('forecourt.frozen_now')")
  await freeze(client, NOON)
  const userId = await makeUser(client)
  const [token, successor] = [newHash(), newHash()]
  const id = await single(client, OPEN, [userId, token])
  if (usedAt !== undefined) {
    await freeze(client, usedAt)
    await client.query(REFRESH, [token, successor])
  }
  await freeze(client, `timestamptz '${now}'`)
  const use = async (hash: Buffer, next: Buffer) =>
    (await client.query(REFRESH, [hash, next])).rows[0].session_id
  return { id, userId, token, successor, use }
}

test('a refresh token is accepted until a microsecond before 30 days have passed, and its end ends no session', async () => {
  const outcomes = await atEach(frozen, `${NOON} + 30 * interval '24 hours'`, async client => {
    const { id, userId, token, successor, use } = await opened(client)
    return [(await use(token, successor)) === id, (await sessionsOf(client, userId)).length]
  })
  expect(outcomes).toEqual([
    [true, 1],
    [false, 1],
    [false, 1],
  ])
})

test('a second use gives the same successor until a microsecond before 10 seconds, and then ends the session', async () => {
  const outcomes = await atEach(frozen, `${NOON} + interval '70 seconds'`, async client => {
    const { id, userId, token, successor, use } = await opened(client, `${NOON} + interval '60 seconds'`)
    const again = (await use(token, successor)) === id
    const { rows } = await client.query(
      "select resource_id = $1 as of_user, host(ip) as ip, new_values -> 'sessionId' as id from app_public.audit_logs where action = 'REUSE_REFRESH_TOKEN'",
      [userId],
    )
    return [again, (await sessionsOf(client, userId)).length, (await revoked(client)).length, rows]
  })
  const entry = { of_user: true, ip: '192.0.2.7', id: expect.any(String) }
  expect(outcomes).toEqual([
    [true, 1, 0, []],
    [false, 0, 1, [entry]],
    [false, 0, 1, [entry]],
  ])
})

test('within 10 seconds, a second use ends the session once the successor was used, or with another successor', () =>
  rolledBack(frozen, async client => {
    await freeze(client, NOON)
    const used = await opened(client, NOON)
    expect(await used.use(used.successor, newHash())).toBe(used.id)
    expect(await used.use(used.token, used.successor)).toBeNull()
    const other = await opened(client, NOON)
    expect(await other.use(other.token, newHash())).toBeNull()
    for (const { userId } of [used, other]) expect(await sessionsOf(client, userId)).toEqual([])
    expect(await used.use(newHash(), newHash())).toBeNull()
  }))

test('a session is revoked if an access token of it can be valid: it was refreshed within 16 minutes', async () => {
  const outcomes = await atEach(frozen, `${NOON} + interval '16 minutes'`, async client => {
    const { userId } = await opened(client)
    await client.query('select app_private.end_sessions($1)', [userId])
    return (await revoked(client)).length
  })
  expect(outcomes).toEqual([1, 0, 0])
})

test('a revocation holds until a microsecond before 16 minutes have passed', async () => {
  const outcomes = await atEach(frozen, `${NOON} + interval '16 minutes'`, async client => {
    await client.query(
      `insert into app_private.revoked_sessions (session_id, revoked_at) values (gen_random_uuid(), ${NOON})`,
    )
    return (await revoked(client)).length
  })
  expect(outcomes).toEqual([1, 0, 0])
})

test('the clean-up removes what has ended, batch by batch, and nothing else', async () => {
  const outcomes = await atEach(frozen, `${NOON} + 30 * interval '24 hours'`, async client => {
    const { userId } = await opened(client)
    await opened(client)
    const refreshed = await opened(client, `${NOON} + interval '1 day'`)
    await client.query(
      `insert into app_private.revoked_sessions (session_id, revoked_at) values (gen_random_uuid(), ${NOON})`,
    )
    const removed: string[] = []
    do removed.push(await single(client, 'select app_private.remove_ended_sessions(1)'))
    while (Number(removed.at(-1)) > 0)
    const left = await client.query(
      `select (select count(*)::int from app_private.sessions) as sessions,
         (select count(*)::int from app_private.refresh_tokens) as tokens, (select count(*)::int from app_private.revoked_sessions) as revocations`,
    )
    const living = [userId, refreshed.userId].map(async id => (await sessionsOf(client, id)).length)
    return [removed.length, Math.max(...removed.map(Number)), left.rows[0], await Promise.all(living)]
  })
  expect(outcomes).toEqual([
    [1, 0, { sessions: 3, tokens: 4, revocations: 0 }, [1, 1]],
    [1, 0, { sessions: 3, tokens: 4, revocations: 0 }, [1, 1]],
    [3, 2, { sessions: 1, tokens: 1, revocations: 0 }, [0, 1]],
  ])
})

test('a visitor and a member cannot call the functions of sessions', async () => {
  for (const as of ['visitor', { dealer: await makeUser(database.owner) }] as const) {
    const attempt = committed(database, as, client => client.query(REFRESH, [newHash(), newHash()]))
    expect(await sqlstate(attempt)).toBe('42501')
  }
})
