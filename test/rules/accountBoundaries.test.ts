/** Logins, counters and clean-up of accounts a microsecond before, at and after each bound. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { atEach, cloneFrozen, freeze, NOON } from '../support/frozenClock.ts'
import { makeCountry, makeUser, single } from '../support/testData.ts'

const EMAIL = 'a@example.com'
const BEGIN = 'select * from app_public.begin_login($1, $2)'
const SHARED_KEY = `app_private.account_key('${EMAIL}')`
const complete = (hash: string) =>
  `select app_public.complete_login('${EMAIL}', '192.0.2.1', ${SHARED_KEY}, 5, '${hash}')`

let database: TestDatabase

beforeAll(async () => {
  database = await cloneFrozen()
})

afterAll(() => database.drop())

const begin = async (client: pg.ClientBase, address = '192.0.2.1') =>
  (await client.query(BEGIN, [EMAIL, address])).rows[0]

/** Stores failures of the account whose window started this long before NOON. */
const putFailures = (client: pg.ClientBase, failures: number, startedAt = NOON) =>
  client.query(
    `insert into app_private.login_failures (email_hash, failures, window_started_at) values (${SHARED_KEY}, $1, ${startedAt})`,
    [failures],
  )
const failures = async (client: pg.ClientBase) =>
  (await client.query('select failures from app_private.login_failures')).rows.map(row => row.failures)

const blocked = async (client: pg.ClientBase) =>
  Number(await single(client, "select count(*) from app_public.audit_logs where action = 'LOGIN_BLOCKED'"))

test('a fifth failure is allowed, a sixth is refused and recorded, and further ones are refused only', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await putFailures(client, 3)
    const seen: unknown[] = []
    for (let attempt = 4; attempt <= 7; attempt += 1) {
      const { over_limit, retry_after_seconds } = await begin(client)
      seen.push([over_limit, retry_after_seconds, await blocked(client)])
    }
    expect(seen).toEqual([
      [false, null, 0],
      [false, null, 0],
      [true, 900, 1],
      [true, 900, 1],
    ])
  }))

test('a refusal ends exactly 900 seconds after the start of its window', async () => {
  const outcomes = await atEach(database, `${NOON} + interval '900 seconds'`, async client => {
    await putFailures(client, 5)
    const { over_limit, retry_after_seconds } = await begin(client)
    return [over_limit, retry_after_seconds, await failures(client)]
  })
  expect(outcomes).toEqual([
    [true, 1, [6]],
    [false, null, [1]],
    [false, null, [1]],
  ])
})

test('the seconds of a refusal are rounded up', async () => {
  const outcomes = await atEach(database, `${NOON} + interval '10 seconds'`, async client => {
    await putFailures(client, 5)
    return (await begin(client)).retry_after_seconds
  })
  expect(outcomes).toEqual([891, 890, 890])
})

test('a new window starts at the first failure after the old one, and not at each failure', async () => {
  const [before, at] = await atEach(database, `${NOON} + interval '900 seconds'`, async client => {
    await putFailures(client, 1)
    await begin(client)
    return single(client, `select window_started_at = ${NOON} as value from app_private.login_failures`)
  })
  expect([before, at]).toEqual([true, false])
})

test.each([
  ['enforce', true, true],
  ['shadow', true, false],
  ['off', false, false],
] as const)('the sixth failure is over the limit and refused, by the mode %s', (mode, over, refused) =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await client.query('update app_public.rate_limit_policies set mode = $1', [mode])
    await putFailures(client, 5)
    const { over_limit, retry_after_seconds } = await begin(client)
    expect([over_limit, retry_after_seconds !== null]).toEqual([over, refused])
  }),
)

test('an address is known for exactly 30 days after its last login, and has a counter of its own', async () => {
  const known = await atEach(database, `${NOON} + 30 * interval '24 hours'`, async client => {
    await client.query(`insert into app_private.known_addresses values (${SHARED_KEY}, '192.0.2.1', ${NOON})`)
    const { rows } = await client.query(
      `select b.account_key <> ${SHARED_KEY} as own from app_public.begin_login('${EMAIL}', '192.0.2.1') as b`,
    )
    return rows[0].own
  })
  expect(known).toEqual([true, false, false])
})

test('an address is known for its own account, and only that address', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await client.query(`insert into app_private.known_addresses values (${SHARED_KEY}, '192.0.2.1', ${NOON})`)
    const own = `select b.account_key <> app_private.account_key($1) as own from app_public.begin_login($1, $2) as b`
    const seen: boolean[] = []
    for (const [email, address] of [
      [EMAIL, '192.0.2.1'],
      [EMAIL, '192.0.2.2'],
      ['b@example.com', '192.0.2.1'],
    ]) {
      seen.push((await client.query(own, [email, address])).rows[0].own)
    }
    expect(seen).toEqual([true, false, false])
  }))

test('a login takes back one failure, and never more than there are', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await makeUser(client, EMAIL)
    await putFailures(client, 2)
    const seen: unknown[] = []
    for (let login = 0; login < 3; login += 1) {
      await client.query(complete('$argon2id$none'))
      seen.push(await failures(client))
    }
    expect(seen).toEqual([[1], [0], [0]])
  }))

test('a failure is recorded up to the limit and not beyond it', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    const seen: number[] = []
    for (const count of [4, 5, 6]) {
      await client.query('delete from app_private.login_failures')
      await putFailures(client, count)
      await client.query(complete('another hash'))
      seen.push(
        Number(
          await single(client, "select count(*) from app_public.audit_logs where action = 'LOGIN_FAILED'"),
        ),
      )
    }
    expect(seen).toEqual([1, 2, 2])
  }))

/** The number of rows that the clean-up leaves in the table, at each moment. */
const leftBy = (moment: string, table: string, insert: string) =>
  atEach(database, moment, async client => {
    await client.query(insert)
    await client.query('select app_private.remove_idle_rate_limit_counters()')
    return Number(await single(client, `select count(*) from ${table}`))
  })

test('the clean-up removes an address only more than 30 days after its last login', async () => {
  const insert = `insert into app_private.known_addresses values ('\\x01', '192.0.2.1', ${NOON})`
  const left = await leftBy(`${NOON} + 30 * interval '24 hours'`, 'app_private.known_addresses', insert)
  expect(left).toEqual([1, 1, 0])
})

test('the clean-up removes failures only more than 48 hours after the start of their window', async () => {
  const insert = `insert into app_private.login_failures values ('\\x01', 6, ${NOON})`
  const left = await leftBy(`${NOON} + interval '48 hours'`, 'app_private.login_failures', insert)
  expect(left).toEqual([1, 1, 0])
})

test('the clean-up removes a counter only after the window that follows its own', async () => {
  const insert = `insert into app_private.rate_limit_counters values ('\\x01', 60, extract(epoch from ${NOON}), 0, 1)`
  const left = await leftBy(`${NOON} + interval '60 seconds'`, 'app_private.rate_limit_counters', insert)
  expect(left).toEqual([1, 1, 0])
})

test('the clean-up of counters stops at its batch size and reports how many it removed', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await client.query(
      "insert into app_private.rate_limit_counters select convert_to(n::text, 'UTF8'), 60, 0, 0, 1 from generate_series(1, 5) as n",
    )
    const removed: string[] = []
    for (let call = 0; call < 4; call += 1) {
      removed.push(await single(client, 'select app_private.remove_idle_rate_limit_counters(2)'))
    }
    expect(removed).toEqual([2, 2, 1, 0])
  }))

test('an account creates as many dealers as its limit, and only the first has free quota', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await makeCountry(client)
    await client.query("select set_config('forecourt.user_id', $1, true)", [await makeUser(client)])
    const create = "select has_free_quota from app_public.create_dealer('Test', 'DE', 'general')"
    const free: string[] = []
    for (let number = 1; number <= 5; number += 1) free.push(await single(client, create))
    expect(free).toEqual([true, false, false, false, false])
    expect(await refusal(client, create)).toBe('FC008')
    await client.query('update app_public.users set dealer_limit = 6')
    expect(await single(client, create)).toBe(false)
    expect(await refusal(client, create)).toBe('FC008')
  }))

const COUNTER =
  "row('\\x01', 60::float8, 1000::float8, 0.5::float8, 7::float8)::app_private.rate_limit_counters"

test.each([
  // in the window; at its end the next one begins; at the end of that one a new one begins
  [999.5, 60, 1000, 0.5, 7],
  [1000, 60, 1060, 7 / 60, 0],
  [1059.5, 60, 1060, 7 / 60, 0],
  [1060, 60, 1120, 0, 0],
  // a longer window has the same start and spreads the share of the window before; a shorter one has ended
  [999.5, 120, 1060, 0.25, 7],
  [1059.5, 120, 1060, 0.25, 7],
  [1060, 120, 1180, 7 / 120, 0],
  [999.5, 30, 1000, 7 / 30, 0],
  [1000, 30, 1030, 0, 0],
])(
  'at second %d a counter has the right window of %d seconds',
  async (now, window, endsAt, decay, current) => {
    const { rows } = await database.owner.query(
      `select c.* from app_private.rate_limit_counter_at(${COUNTER}, $1, $2) as c`,
      [window, now],
    )
    expect(rows[0]).toMatchObject({ window_seconds: window, ends_at: endsAt, decay, current })
  },
)

test.each([
  // 7 are used, and 5 of the window before still count: 12 of 60 seconds at 0.5 are 6
  [988, 13, 1, 2],
  [988, 14, 1, null],
  [988, 13.5, 1, 1],
  // no room in the running window: the charge waits for the next one
  [988, 7, 1, 21],
  [988, 8, 1, 12],
  [988, 1, 2, 60],
  [988, 2, 2, 72],
])('at second %d, under a limit of %d, a charge of %d waits %p seconds', async (now, max, cost, wait) => {
  const sql = `select app_private.rate_limit_wait(${COUNTER}, $1, $2, $3)`
  expect(await single(database.owner, sql, [max, cost, now])).toBe(wait)
})
