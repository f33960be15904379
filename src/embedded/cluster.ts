// The data directory. It is made under a temporary name and then renamed, so that an existing one is always complete.

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
import { type Binaries, reasonOf, run } from './binaries.ts'
import { EmbeddedError } from './embeddedError.ts'
import type { ServerUser } from './serverUser.ts'

const DRAFT = 'postgres.draft-'

type ClusterOptions = {
  home: string
  cluster: string
  binaries: Binaries
  user: ServerUser | undefined
  version: string
  superuserPassword: string
  /** False: does not wait for the disk. For data that may be lost. */
  durable: boolean
  log: (message: string) => void
}

/** Makes the cluster if it does not exist, and checks that it has our major version. */
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
      : `${cluster} was made by Postgres ${found}, but this is Postgres ${options.version}. ` +
          `Dump it with Postgres ${found} and restore it here, or move it away to start with a new database.`,
  )
}

async function createCluster(options: ClusterOptions): Promise<void> {
  const { home, cluster, binaries, user } = options
  const draft = mkdtempSync(join(home, DRAFT))
  const passwordFile = `${draft}.password`
  try {
    writeFileSync(passwordFile, `${options.superuserPassword}\n`, { mode: 0o600, flag: 'wx' })
    if (user) for (const path of [draft, passwordFile]) chownSync(path, user.uid, user.gid)
    // The builtin provider sorts and folds case in the same way on every platform.
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
    const access = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`]
    const sync = options.durable ? [] : ['--no-sync']
    await run(user, binaries.initdb, [`--pgdata=${draft}`, ...locale, ...access, ...sync])
    renameSync(draft, cluster)
  } catch (error) {
    throw new EmbeddedError('CLUSTER_NOT_CREATED', `Cannot create ${cluster}: ${reasonOf(error)}`, error)
  } finally {
    removeDrafts(home)
  }
}

/** Removes what a killed start left behind. */
function removeDrafts(home: string): void {
  for (const name of readdirSync(home).filter(entry => entry.startsWith(DRAFT))) {
    try {
      rmSync(join(home, name), { recursive: true, force: true })
    } catch {
      // The initdb of that start may still be writing. The next start removes the rest.
    }
  }
}

function majorOf(cluster: string): string | undefined {
  const file = join(cluster, 'PG_VERSION')
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined
}
