// Secrets that a first start makes up and later starts find again: one file each, for its owner's eyes only.

import { randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EmbeddedError } from './error.ts'

/** 32 random bytes in hex, from the file `name` in `directory`, which is written if it is missing. */
export function readOrCreateSecret(directory: string, name: string): string {
  const file = join(directory, name)
  const existing = read(file)
  if (existing !== undefined) return existing

  mkdirSync(directory, { recursive: true })
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  try {
    writeFileSync(draft, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600, flag: 'wx', flush: true })
    // A link appears whole or not at all and replaces nothing: of two first starts both use the same secret.
    linkSync(draft, file)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  } finally {
    rmSync(draft, { force: true })
  }
  return read(file) ?? readOrCreateSecret(directory, name)
}

function read(file: string): string | undefined {
  let text: string
  try {
    text = readFileSync(file, 'utf8').trim()
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new EmbeddedError('BROKEN_SECRET', `${file} should hold 64 hex digits and does not. Restore it.`)
  }
  return text
}

function codeOf(error: unknown): unknown {
  return (error as NodeJS.ErrnoException).code
}
