// Postgres refuses to run as root, but containers and small machines often are root. Then the server runs as an
// account without privileges, and where that may not enter the project's directory, with leave to do only that.

import { readFileSync, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { EmbeddedError } from './error.ts'

export type Account = {
  uid: number
  gid: number
  /** What the account may not enter or run, and the Linux capability that helps. */
  barrier?: { path: string; capability: string }
}

// From linux/capability.h
const CAP_DAC_READ_SEARCH = 2n

/** Whom initdb and the server run as; undefined: as ourselves, because we are not root. */
export function serverAccount(paths: { binary: string; home: string; cluster: string }): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  const account = ownerOf(paths.cluster) ?? passwdEntry('postgres') ?? passwdEntry('nobody')
  if (!account) {
    throw new EmbeddedError(
      'CANNOT_RUN_AS_ROOT',
      'Postgres refuses to run as root, and there is no user "postgres" or "nobody" to run it as. ' +
        'Create one (useradd --system postgres) or start as another user.',
    )
  }
  const path = firstBarrier(paths.binary, account) ?? firstBarrier(paths.home, account)
  if (path === undefined) return account
  // Reading everything is the smaller right, but it does not cover running a file, and containers may lack it.
  const readingIsEnough = path !== paths.binary && isPermitted(CAP_DAC_READ_SEARCH)
  return { ...account, barrier: { path, capability: readingIsEnough ? 'dac_read_search' : 'dac_override' } }
}

/** The program and options of child_process that run `binary` as `account`. */
export function commandFor(account: Account | undefined, binary: string, args: string[]) {
  const options = {
    cwd: '/', // a directory that exists, stays and may be entered by everyone
    // Nothing of ours is inherited: no secret, and no PGPORT or the like that would change a meaning.
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
  }
  if (!account) return { file: binary, args, options }
  const { uid, gid, barrier } = account
  if (!barrier) return { file: binary, args, options: { ...options, uid, gid } }
  const become = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups']
  const keep = [`--inh-caps=+${barrier.capability}`, `--ambient-caps=+${barrier.capability}`]
  // Postgres asks access(2) whether it may run itself, which ignores capabilities without this bit.
  const heed = ['--securebits=+no_setuid_fixup']
  return { file: 'setpriv', args: [...become, ...keep, ...heed, '--', binary, ...args], options }
}

/** A cluster stays with the user who started it first. */
function ownerOf(cluster: string): Account | undefined {
  const stat = statSync(cluster, { throwIfNoEntry: false })
  return stat && stat.uid !== 0 ? { uid: stat.uid, gid: stat.gid } : undefined
}

function passwdEntry(name: string): Account | undefined {
  const match = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(readFileSync('/etc/passwd', 'utf8'))
  return match ? { uid: Number(match[1]), gid: Number(match[2]) } : undefined
}

function firstBarrier(path: string, account: Account): string | undefined {
  if (!mayEnter(statSync(path), account)) return path
  const parent = dirname(path)
  return parent === path ? undefined : firstBarrier(parent, account)
}

function mayEnter(stat: Stats, account: Account): boolean {
  if (stat.uid === account.uid) return (stat.mode & 0o100) !== 0
  if (stat.gid === account.gid) return (stat.mode & 0o010) !== 0
  return (stat.mode & 0o001) !== 0
}

function isPermitted(capability: bigint): boolean {
  try {
    const match = /^CapPrm:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))
    return ((BigInt(`0x${match?.[1] ?? '0'}`) >> capability) & 1n) === 1n
  } catch {
    return false
  }
}
