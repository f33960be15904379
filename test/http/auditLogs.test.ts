/** Reading the audit trail as an admin: filtered by action, resource, actor and time, page by page. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeAdmin } from '../support/seller.ts'
import { makeUser } from '../support/testData.ts'

const ROWS = 12_000
const actor = randomUUID()
const resource = randomUUID()

let database: TestDatabase
let server: TestServer
let admin: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  admin = await makeAdmin(database, server)
  // entries over five months; each filter matches one in ten
  await database.owner.query(
    `insert into app_public.audit_logs (action, resource_type, resource_id, actor, new_values, created_at)
     select case n % 10 when 1 then 'WANTED' else 'OTHER' end, case n % 10 when 2 then 'wanted' else 'others' end,
       case n % 10 when 3 then $1::uuid else gen_random_uuid() end, case n % 10 when 4 then $2::uuid end,
       jsonb_build_object('n', n), now() + (n - $3::integer / 2.0) / $3 * interval '150 days'
     from generate_series(1, $3::integer) as n`,
    [resource, actor, ROWS],
  )
  await database.superuser.query('analyze app_public.audit_logs')
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

type Page = {
  auditLogs: { nodes: { newValues: string }[]; pageInfo: { endCursor: string; hasNextPage: boolean } } | null
}

function readPage(condition: Record<string, unknown>, after?: string, token = admin) {
  return server.call<Page>(
    `query ($condition: AuditLogCondition, $after: Cursor) {
      auditLogs(condition: $condition, after: $after, first: 100) {
        nodes { newValues } pageInfo { endCursor hasNextPage }
      }
    }`,
    { token, variables: { condition, after } },
  )
}

/** Reads all pages and returns the numbers of their rows. */
async function readNumbers(condition: Record<string, unknown>): Promise<number[]> {
  const found: number[] = []
  let after: string | undefined
  for (;;) {
    const { data, errors } = await readPage(condition, after)
    expect(errors).toEqual([])
    found.push(
      ...(data.auditLogs?.nodes ?? []).map(({ newValues }) =>
        Number(JSON.stringify(newValues).match(/\d+/)?.[0]),
      ),
    )
    if (!data.auditLogs?.pageInfo.hasNextPage) return found
    after = data.auditLogs.pageInfo.endCursor
  }
}

const every10th = (first: number) => Array.from({ length: ROWS / 10 }, (_, index) => first + index * 10)

test.each([
  ['action', { action: 'WANTED' }, 1],
  ['resource type', { resourceType: 'wanted' }, 2],
  ['resource id', { resourceType: 'others', resourceId: resource }, 3],
  ['actor', { actor }, 4],
])('an admin reads each entry once when paging by %s, oldest first', async (_filter, condition, first) => {
  expect(await readNumbers(condition)).toEqual(every10th(first))
})

test('createdFrom includes its moment, and createdBefore excludes it', async () => {
  const at = async (n: number): Promise<string> => {
    const { rows } = await database.owner.query(
      `select to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
       from app_public.audit_logs where new_values = jsonb_build_object('n', $1::integer)`,
      [n],
    )
    return rows[0].at
  }
  const span = { createdFrom: await at(101), createdBefore: await at(301) }
  expect(await readNumbers({ action: 'WANTED', ...span })).toEqual(every10th(1).slice(10, 30))
  expect(await readNumbers(span)).toHaveLength(200)
})

test('a dealer cannot read the audit trail', async () => {
  const dealer = await server.tokenFor(await makeUser(database.owner))
  const { errors } = await readPage({}, undefined, dealer)
  expect(errors.map(({ extensions }) => extensions.code)).toEqual(['forbidden'])
})

const SPAN = "created_at >= now() - interval '60 days' and created_at < now() + interval '60 days'"

test.each([
  ['action', "action = 'WANTED'"],
  ['resource type', "resource_type = 'wanted'"],
  ['resource', `resource_type = 'others' and resource_id = '${resource}'`],
  ['actor', `actor = '${actor}'`],
  ['time', SPAN],
  ['action and time', `action = 'WANTED' and ${SPAN}`],
])('a first or later page by %s is read from an index without a sort', (_filter, filter) =>
  rolledBack(database, async client => {
    await become(client, { admin: actor })
    for (const from of ['true', "(created_at, id) > (now(), '00000000-0000-0000-0000-000000000000')"]) {
      const { rows } = await client.query(
        `explain (costs off) select * from app_public.audit_logs where ${filter} and ${from} order by created_at, id limit 101`,
      )
      const plan = rows.map(row => row['QUERY PLAN']).join('\n')
      expect(plan).not.toMatch(/->\s+(Incremental )?Sort|Seq Scan/)
      expect(plan).toMatch(/Index Scan/)
    }
  }),
)
