/** Test helpers that wait for a condition instead of a time. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestDatabase } from './database.ts'

/** Returns once `ready` is true; fails after `seconds`, which only a condition that never holds should reach. */
export async function until(
  what: string,
  ready: () => boolean | undefined | Promise<boolean | undefined>,
  seconds = 60,
): Promise<void> {
  const deadline = Date.now() + seconds * 1000
  while (!(await ready())) {
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`)
    await sleep(10)
  }
}

/** Returns once connections of this name, such as `forecourt api`, wait for a lock. */
export async function untilWaitingForLock(
  database: TestDatabase,
  name = 'forecourt api',
  connections = 1,
): Promise<void> {
  await until(`${connections} connections of ${name} wait for a lock`, async () => {
    const { rows } = await database.superuser.query<{ waiting: number }>(
      `select count(*)::integer as waiting from pg_stat_activity
       where datname = current_database() and application_name = $1 and cardinality(pg_blocking_pids(pid)) > 0`,
      [name],
    )
    return (rows[0]?.waiting ?? 0) >= connections
  })
}

/** Holds a lock on another connection, as `superuser`, while `work` runs. `release` frees it earlier. */
export async function holding(
  database: TestDatabase,
  sql: string,
  values: unknown[],
  work: (release: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const client = await database.superuser.connect()
  let held = true
  const release = async () => {
    if (held) await client.query('rollback')
    held = false
  }
  try {
    await client.query('begin')
    await client.query(sql, values)
    await work(release)
  } finally {
    await release()
    client.release()
  }
}
