/** Writes each mail into a file that a developer can read and search. Mail formats would encode the text. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { UserMail } from './mail.ts'

/** A mail that is sent again replaces its file. Only the owner may read the files, because they contain tokens. */
export function makeFiles(directory: string, from = 'forecourt@localhost') {
  return async ({ id, kind, to, date, subject, text }: UserMail): Promise<void> => {
    const head = {
      From: from,
      To: to.join(', '),
      Subject: subject,
      Date: date.toISOString(),
      'Message-ID': id,
    }
    const lines = Object.entries(head).map(([name, value]) => `${name}: ${value}\n`)
    const time = date.toISOString().replaceAll(':', '-')
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await writeFile(join(directory, `${time}-${kind}-${id.slice(-12)}.txt`), `${lines.join('')}\n${text}`, {
      mode: 0o600,
    })
  }
}
