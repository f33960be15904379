// Secrets that the first start generates and later starts read. Each has a file that only its owner may read.

import { randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EmbeddedError } from './embeddedError.ts'

/** 32 random bytes in hex, from the file `name` in `directory`. Writes the file if it is missing. */
export function readOrCreateSecret(directory: string, name: string): string {
  const file = join(directory, name)
  const existing = read(file)
  if (existing !== undefined) return existing

  mkdirSync(directory, { recursive: true })
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  try {
    writeFileSync(draft, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600, flag: 'wx', flush: true })
    // linkSync is atomic and does not overwrite, so two first starts at once get the same secret.
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
    throw new EmbeddedError(
      'BROKEN_SECRET',
      `${file} must contain 64 hex digits and does not. Please restore it.`,
    )
  }
  return text
}

function codeOf(error: unknown): unknown {
  return (error as NodeJS.ErrnoException).code
}
