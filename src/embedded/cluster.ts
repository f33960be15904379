// The data directory: made beside its place and renamed into it, so that what stands there is always complete.

import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Account } from './account.ts'
import { type Binaries, reasonOf, run } from './binaries.ts'
import { EmbeddedError } from './error.ts'

const DRAFT = 'postgres.draft-'

type ClusterOptions = {
  home: string
  cluster: string
  binaries: Binaries
  account: Account | undefined
  version: string
  superuserPassword: string
  /** False for data that may be lost: does not wait for the disk. */
  durable: boolean
  log: (message: string) => void
}

/** Makes the cluster if there is none, and makes sure that it is of our major version. */
export async function ensureCluster(options: ClusterOptions): Promise<void> {
  const { home, cluster } = options
  removeDrafts(home)
  if (!existsSync(cluster) || readdirSync(cluster).length === 0) {
    options.log(`creating the database in ${cluster}`)
    await createCluster(options)
  }
  const found = majorOf(cluster)
  const expected = options.version.split('.')[0]
  if (found === expected) return
  throw new EmbeddedError(
    'FOREIGN_CLUSTER',
    found === undefined
      ? `${cluster} is not empty and not a Postgres cluster. Move it away, then start again.`
      : `${cluster} was made by Postgres ${found}, this is Postgres ${options.version}. ` +
          'Dump it with the former and restore it here, or move it away to begin anew.',
  )
}

async function createCluster(options: ClusterOptions): Promise<void> {
  const { home, cluster, binaries, account } = options
  const draft = mkdtempSync(join(home, DRAFT))
  const passwordFile = `${draft}.password`
  try {
    writeFileSync(passwordFile, `${options.superuserPassword}\n`, { mode: 0o600, flag: 'wx' })
    if (account) for (const path of [draft, passwordFile]) chownSync(path, account.uid, account.gid)
    // The builtin provider sorts and folds case the same on every platform, whatever locales it has.
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
    const access = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`]
    const sync = options.durable ? [] : ['--no-sync']
    await run(account, binaries.initdb, [`--pgdata=${draft}`, ...locale, ...access, ...sync])
    renameSync(draft, cluster)
  } catch (error) {
    throw new EmbeddedError('CLUSTER_NOT_CREATED', `Cannot create ${cluster}: ${reasonOf(error)}`, error)
  } finally {
    removeDrafts(home)
  }
}

/** What a start that was killed half-way left behind. Its initdb may still write, for a moment: no matter. */
function removeDrafts(home: string): void {
  for (const name of readdirSync(home).filter(entry => entry.startsWith(DRAFT))) {
    try {
      rmSync(join(home, name), { recursive: true, force: true })
    } catch {
      // The next start tries again.
    }
  }
}

function majorOf(cluster: string): string | undefined {
  const file = join(cluster, 'PG_VERSION')
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined
}
