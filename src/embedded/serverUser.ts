// The operating system user that runs the server. Postgres refuses to run as root, but in containers this process often
// is root. Then the server runs as an unprivileged user. If that user may not enter the project's directory, it gets one
// capability for that.

import { readFileSync, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { EmbeddedError } from './embeddedError.ts'

export type ServerUser = {
  uid: number
  gid: number
  /** A path that the user may not enter or execute, and the Linux capability that allows it. */
  barrier?: { path: string; capability: string }
}

// From linux/capability.h
const CAP_DAC_READ_SEARCH = 2n

/** The user of initdb and the server. Undefined: the user of this process, which is not root. */
export function findServerUser(paths: {
  binary: string
  home: string
  cluster: string
}): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  const user = ownerOf(paths.cluster) ?? passwdEntry('postgres') ?? passwdEntry('nobody')
  if (!user) {
    throw new EmbeddedError(
      'CANNOT_RUN_AS_ROOT',
      'Postgres refuses to run as root, and there is no user "postgres" or "nobody" to run it as. ' +
        'Create one (useradd --system postgres) or start as another user.',
    )
  }
  const path = firstBarrier(paths.binary, user) ?? firstBarrier(paths.home, user)
  if (path === undefined) return user
  // dac_read_search grants less, but it does not allow to execute a file, and containers may lack it.
  const readingIsEnough = path !== paths.binary && isPermitted(CAP_DAC_READ_SEARCH)
  return { ...user, barrier: { path, capability: readingIsEnough ? 'dac_read_search' : 'dac_override' } }
}

/** Program, arguments and options of child_process that run `binary` as `user`. */
export function commandFor(user: ServerUser | undefined, binary: string, args: string[]) {
  const options = {
    cwd: '/', // always exists, and every user may enter it
    // Nothing is inherited: no secret, and no variable such as PGPORT that changes what Postgres does.
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
  }
  if (!user) return { file: binary, args, options }
  const { uid, gid, barrier } = user
  if (!barrier) return { file: binary, args, options: { ...options, uid, gid } }
  const switchUser = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups']
  const capabilities = [`--inh-caps=+${barrier.capability}`, `--ambient-caps=+${barrier.capability}`]
  // Postgres checks with access(2) whether it may execute itself. Without this bit, access(2) ignores capabilities.
  const securebits = ['--securebits=+no_setuid_fixup']
  return {
    file: 'setpriv',
    args: [...switchUser, ...capabilities, ...securebits, '--', binary, ...args],
    options,
  }
}

/** An existing cluster keeps the user of its first start. */
function ownerOf(cluster: string): ServerUser | undefined {
  const stat = statSync(cluster, { throwIfNoEntry: false })
  return stat && stat.uid !== 0 ? { uid: stat.uid, gid: stat.gid } : undefined
}

function passwdEntry(name: string): ServerUser | undefined {
  const match = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(readFileSync('/etc/passwd', 'utf8'))
  return match ? { uid: Number(match[1]), gid: Number(match[2]) } : undefined
}

function firstBarrier(path: string, user: ServerUser): string | undefined {
  if (!mayEnter(statSync(path), user)) return path
  const parent = dirname(path)
  return parent === path ? undefined : firstBarrier(parent, user)
}

function mayEnter(stat: Stats, user: ServerUser): boolean {
  if (stat.uid === user.uid) return (stat.mode & 0o100) !== 0
  if (stat.gid === user.gid) return (stat.mode & 0o010) !== 0
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
