/** Databases for tests: clones of the migrated template, and transactions that are rolled back. */
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { makeTemplate, ownerUrl, startTemporaryServer, TEMPLATE } from './globalSetup.ts'
import { stopTemporaryServer } from './globalTeardown.ts'

export type TestDatabase = {
  name: string
  /** The URL for the owner, which is not a superuser. */
  ownerUrl: string
  owner: pg.Pool
  /** For rows that a test must inspect or break. Never run the tested code as superuser. */
  superuser: pg.Pool
  drop(): Promise<void>
}

/** Clones a database in which a test may commit. Drop it in `afterAll`. */
export async function cloneDatabase(
  template = TEMPLATE,
  superuserUrl = process.env.TEST_SUPERUSER_URL,
): Promise<TestDatabase> {
  if (superuserUrl === undefined) throw new Error('the global setup has not run')
  const name = `forecourt_${randomBytes(6).toString('hex')}`
  // without fsync, files are copied faster than pages are written to the WAL
  const copy = `create database ${name} template ${template} strategy file_copy owner forecourt_test_owner`
  await runOnce(superuserUrl, copy)
  const url = ownerUrl(superuserUrl, name)
  const owner = quietPool(url)
  const asSuperuser = new URL(superuserUrl)
  asSuperuser.pathname = `/${name}`
  const superuser = quietPool(asSuperuser.href)
  // a clone does not have the rights of its template
  if (template === TEMPLATE) await owner.query('select app_private.restrict_database()')
  return {
    name,
    ownerUrl: url,
    owner,
    superuser,
    async drop() {
      await owner.end()
      await superuser.end()
      await runOnce(superuserUrl, `drop database ${name} with (force)`)
    },
  }
}

/**
 * Makes a database on a server of its own, for tests that count the rows read. Postgres keeps an old row version while any
 * open transaction of the server might need it. A transaction of another test file counts too, even in another database.
 */
export async function databaseAlone(): Promise<TestDatabase> {
  const running = await startTemporaryServer()
  try {
    await makeTemplate(running.server.superuserUrl)
    const database = await cloneDatabase(TEMPLATE, running.server.superuserUrl)
    const drop = () => database.drop().finally(() => stopTemporaryServer(running))
    return { ...database, drop }
  } catch (error) {
    await stopTemporaryServer(running)
    throw error
  }
}

/** Makes a database without any migration. */
export function emptyDatabase(): Promise<TestDatabase> {
  return cloneDatabase('template0')
}

/** The role of a transaction, with the user's id where the role has a user. */
export type As = 'owner' | 'visitor' | 'authenticator' | { dealer: string } | { admin: string }

/** Sets the role and the user of the current transaction, as the API does for a request. */
export async function become(client: pg.ClientBase, as: As): Promise<void> {
  const [role, userId] = typeof as === 'string' ? [as, ''] : (Object.entries(as)[0] as [string, string])
  await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
  await client.query(`set local role forecourt_${role === 'owner' ? 'test_owner' : role}`)
}

/** Runs `work` in a transaction and rolls it back. */
export async function rolledBack<Value>(
  database: TestDatabase,
  work: (client: pg.PoolClient) => Promise<Value>,
): Promise<Value> {
  const client = await database.superuser.connect()
  try {
    await client.query('begin')
    await become(client, 'owner')
    return await work(client)
  } finally {
    await client.query('rollback')
    client.release()
  }
}

/** The SQLSTATE with which a statement is refused. The transaction continues. Throws when the statement succeeds. */
export async function refusal(client: pg.ClientBase, sql: string, values: unknown[] = []): Promise<string> {
  await client.query('savepoint refusal')
  try {
    await client.query(sql, values)
  } catch (error) {
    await client.query('rollback to savepoint refusal')
    return String((error as { code?: unknown }).code)
  }
  await client.query('release savepoint refusal')
  throw new Error(`was not refused: ${sql}`)
}

async function runOnce(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

function quietPool(connectionString: string): pg.Pool {
  const pool = new pg.Pool({ connectionString, max: 60 })
  const ignore = () => {}
  pool.on('error', ignore)
  pool.on('connect', client => client.on('error', ignore))
  return pool
}
