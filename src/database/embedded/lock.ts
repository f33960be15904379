// One process per directory. The lock is the kernel's (a write lock that SQLite takes on a file): it ends with
// its holder, however that dies, so that there is no stale lock to take over and no process id to mistake.

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { EmbeddedError } from './error.ts'

const SQLITE_BUSY = 5

// The collector closes a database that nobody refers to, and the lock would go with it.
const held = new Set<DatabaseSync>()

/** Takes the lock of `directory` or throws ALREADY_RUNNING; the result gives it back. */
export function acquireLock(directory: string): () => void {
  const file = join(directory, 'running.lock')
  // Who holds the lock, for people to read: nothing is decided by it.
  const pidFile = join(directory, 'running.pid')
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file)
    database.exec('begin immediate')
    writeFileSync(pidFile, `${process.pid}\n`)
  } catch (error) {
    if (database?.isOpen) database.close()
    throw refusal(error, directory, pidFile)
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

function refusal(error: unknown, directory: string, pidFile: string): EmbeddedError {
  const { errcode, message } = error as { errcode?: unknown; message?: string }
  if (errcode === SQLITE_BUSY) {
    const sentence = `The database in ${directory} is in use by process ${readPid(pidFile)}. Stop that one first.`
    return new EmbeddedError('ALREADY_RUNNING', sentence)
  }
  return new EmbeddedError('CANNOT_LOCK', `Cannot lock ${directory} (${message}). Is it writable?`, error)
}

function readPid(pidFile: string): string {
  try {
    return readFileSync(pidFile, 'utf8').trim()
  } catch {
    return 'unknown' // it is just starting or stopping
  }
}
