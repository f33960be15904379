// One process per directory. The lock is a kernel lock that SQLite takes on a file. The kernel releases it when its holder
// ends in any way, so that there is no stale lock to remove and no process id to mistake.

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { EmbeddedError } from './embeddedError.ts'

const SQLITE_BUSY = 5

// Without a reference, the garbage collector would close the database and release the lock.
const held = new Set<DatabaseSync>()

/** Takes the lock of `directory` or throws ALREADY_RUNNING. The returned function releases it. */
export async function acquireLock(directory: string): Promise<() => void> {
  const file = join(directory, 'running.lock')
  // the process id of the holder, for error messages only
  const pidFile = join(directory, 'running.pid')
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file)
    database.exec('begin immediate')
    writeFileSync(pidFile, `${process.pid}\n`)
  } catch (error) {
    if (database?.isOpen) database.close()
    throw await refusal(error, directory, pidFile)
  }

  const lock = database
  held.add(lock)
  return () => {
    if (!held.delete(lock)) return
    // The locked file itself stays: removing it would let two processes hold locks on two files of one name.
    rmSync(pidFile, { force: true })
    lock.close()
  }
}

async function refusal(error: unknown, directory: string, pidFile: string): Promise<EmbeddedError> {
  const { errcode, message } = error as { errcode?: unknown; message?: string }
  if (errcode === SQLITE_BUSY) {
    const holder = await holderOf(pidFile)
    return new EmbeddedError(
      'ALREADY_RUNNING',
      `The database in ${directory} is in use by ${holder}. Please stop that process first.`,
    )
  }
  return new EmbeddedError('CANNOT_LOCK', `Cannot lock ${directory} (${message}). Is it writable?`, error)
}

/** Retries, because a new holder may not have replaced the process id of an earlier one yet. */
async function holderOf(pidFile: string): Promise<string> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0
    if (pid > 0 && isAlive(pid)) return `process ${pid}`
    await sleep(10)
  }
  return 'another process'
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
