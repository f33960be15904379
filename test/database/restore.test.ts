/** A restore to a moment, as docs/operations.md tells it: a base backup, the WAL since then, and a later loss. */

import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { migrate } from '../../src/database/migrate.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'
import { makeCountry, makeDealer, makeUser } from '../support/testData.ts'

const home = mkdtempSync(join(tmpdir(), 'forecourt-restore-'))
const archive = join(home, 'archive')
const lost = join(home, 'lost')
const restored = join(home, 'restored')
const servers: EmbeddedServer[] = []

afterAll(async () => {
  for (const server of servers) await server.stop()
  rmSync(home, { recursive: true })
})

async function start(directory: string, settings: Record<string, string>): Promise<EmbeddedServer> {
  const server = await startEmbedded({ directory, settings: { fsync: 'off', ...settings }, log: () => {} })
  servers.push(server)
  return server
}

async function connected<Value>(url: string, work: (client: pg.Client) => Promise<Value>): Promise<Value> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** Copies the data directory of a running server, as pg_basebackup does. */
function backUp({ superuserUrl }: EmbeddedServer): Promise<string> {
  return connected(superuserUrl, async client => {
    await client.query("select pg_backup_start('rehearsal', fast => true)")
    const leaveOut = ['--exclude=./pg_wal/*', '--exclude=./postmaster.*']
    const { status } = spawnSync('tar', [
      '-C',
      join(lost, 'postgres'),
      ...leaveOut,
      '-cf',
      join(home, 'base.tar'),
      '.',
    ])
    // 1: files changed or went while they were read, which the WAL makes good
    expect([0, 1]).toContain(status)
    const { rows } = await client.query('select labelfile from pg_backup_stop()')
    return rows[0].labelfile
  })
}

/** Lays out the backup, for a server that recovers when it is started. */
function layOut(backupLabel: string): void {
  const cluster = join(restored, 'postgres')
  mkdirSync(cluster, { recursive: true })
  spawnSync('tar', ['-C', cluster, '-xpf', join(home, 'base.tar')])
  for (const secret of ['postgres-password', 'owner-password'])
    copyFileSync(join(lost, secret), join(restored, secret))
  const { uid, gid } = statSync(join(lost, 'postgres'))
  const signals = { backup_label: backupLabel, 'recovery.signal': '' }
  for (const [name, text] of Object.entries(signals)) {
    writeFileSync(join(cluster, name), text)
    chownSync(join(cluster, name), uid, gid)
  }
}

async function publish(client: pg.Client, userId: string, dealerId: string): Promise<void> {
  await client.query("select set_config('forecourt.user_id', $1, false)", [userId])
  await client.query(`select app_public.create_listing($1, $2, 'A car', 'auto', 9900, 'EUR')`, [
    dealerId,
    randomUUID(),
  ])
}

test('after a loss the database is restored to the moment before it: no publication less, none more', async () => {
  // the server's account may be another than ours
  chmodSync(home, 0o755)
  mkdirSync(archive)
  chmodSync(archive, 0o777)
  const archiving = { archive_mode: 'on', archive_command: `cp %p '${archive}/%f'` }
  const first = await start(lost, archiving)
  await migrate({ databaseUrl: first.ownerUrl, includeCurrent: true, log: () => {} })

  const moment = await connected(first.ownerUrl, async client => {
    await makeCountry(client)
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId)
    await publish(client, userId, dealerId)
    const backupLabel = await backUp(first)
    layOut(backupLabel)
    for (let after = 0; after < 2; after++) await publish(client, userId, dealerId)
    const { rows } = await client.query('select clock_timestamp()::text as moment')
    await publish(client, userId, dealerId)
    return rows[0].moment
  })
  // a clean end archives the last segment too; after a crash it would be copied from pg_wal
  await first.stop()

  const second = await start(restored, {
    restore_command: `cp '${archive}/%f' %p`,
    recovery_target_time: moment,
    recovery_target_action: 'promote',
  })
  const { rows } = await connected(second.ownerUrl, client =>
    client.query(`
      select (select count(*)::integer from app_public.listings) as listings,
        (select count(*)::integer from app_public.listing_consumptions) as consumptions,
        (select count(*)::integer from app_private.rate_limit_counters) as counters,
        pg_is_in_recovery() as goes_on`),
  )
  expect(rows).toEqual([{ listings: 3, consumptions: 3, counters: 0, goes_on: false }])
})
