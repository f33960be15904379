/** The mails of the outbox, and their tokens as their readers get them. */
import { openToken } from '../../src/identity/secretTokens.ts'
import { derivedKey } from '../../src/request/derivedKey.ts'
import { jwtSecret } from './apiServer.ts'
import type { TestDatabase } from './database.ts'

type Outbox = Pick<TestDatabase, 'owner'>

/** The key that seals the tokens of the server of the tests. */
export const mailKey = derivedKey(jwtSecret, 'mail token')

/** The kinds of the mails to an address, oldest first. */
export async function mailsTo({ owner }: Outbox, email: string): Promise<string[]> {
  const { rows } = await owner.query<{ kind: string }>(
    'select kind from app_private.mails where recipient = $1 order by id',
    [email],
  )
  return rows.map(({ kind }) => kind)
}

/** The token in the newest mail of this kind to an address. The mail must not have been sent yet. */
export async function mailedToken(
  { owner }: Outbox,
  kind: string,
  email: string,
  key = mailKey,
): Promise<string> {
  const { rows } = await owner.query<{ sealed_token: Buffer | null }>(
    'select sealed_token from app_private.mails where kind = $1 and recipient = $2 order by id desc limit 1',
    [kind, email],
  )
  const sealed = rows[0]?.sealed_token
  if (sealed == null) throw new Error(`there is no token in a mail of kind ${kind} to ${email}`)
  return openToken(sealed, key)
}
