/** Sends a mail of the outbox to a user. */
import type { Task } from 'graphile-worker'
import { openToken } from '../src/identity/secretTokens.ts'
import type { Mailer } from '../src/mail/mailer.ts'
import { fill, formatTime, type Locale } from '../src/mail/template.ts'

type StoredMail = {
  id: string
  kind: string
  locale: Locale
  recipient: string
  parameters: Record<string, unknown>
  sealedToken: Uint8Array | null
  expiresAt: Date | null
  createdAt: Date
  isExpired: boolean
  subject: string
  body: string
}

const MAIL = `
  select m.id, m.kind, m.locale, m.recipient, m.parameters, m.sealed_token as "sealedToken", m.expires_at as "expiresAt",
    m.created_at as "createdAt", coalesce(m.expires_at <= clock_timestamp(), false) as "isExpired", t.subject, t.body
  from app_private.mails as m
  join app_private.mail_templates as t on t.kind = m.kind and t.locale = m.locale
  where m.id = $1 and m.sent_at is null`
const SENT = 'update app_private.mails set sent_at = clock_timestamp(), sealed_token = null where id = $1'
/** The address of a mail that is not sent may belong to nobody here, so it is not kept. */
const DROP = 'delete from app_private.mails where id = $1'

export type SendMailOptions = {
  /** Undefined: mails wait in the outbox. */
  mailer: Mailer | undefined
  /** Opens the tokens that the API has sealed. */
  key: Uint8Array
}

/**
 * The job fails until the mail is accepted. If the worker dies between the acceptance and its record, the mail is sent again with
 * the same Message-ID.
 */
export function makeSendMail({ mailer, key }: SendMailOptions): Task {
  return async (payload, { logger, query }) => {
    const { id } = payload as { id: string }
    const [mail] = (await query<StoredMail>(MAIL, [id])).rows
    if (mail === undefined) return
    if (mail.isExpired) {
      await query(DROP, [id])
      logger.debug(`mail dropped, because it has expired: ${mail.kind}`)
      return
    }
    if (mailer === undefined) throw new Error(`mail ${mail.kind}: SMTP_URL and MAIL_FROM are not set`)
    try {
      await mailer.send({
        id,
        kind: mail.kind,
        to: [mail.recipient],
        date: mail.createdAt,
        ...textOf(mail, key),
      })
    } catch (error) {
      throw new Error(`mail ${mail.kind} was not sent: ${(error as Error).message}`)
    }
    await query(SENT, [id])
    logger.info(`mail sent: ${mail.kind}`)
  }
}

function textOf({ subject, body, ...mail }: StoredMail, key: Uint8Array): { subject: string; text: string } {
  const values = {
    ...mail.parameters,
    ...(mail.sealedToken && { token: tokenOf(mail.sealedToken, key) }),
    ...(mail.expiresAt && { expiresAt: formatTime(mail.expiresAt, mail.locale) }),
  }
  // a parameter must not begin another header
  return { subject: fill(subject, values).replace(/\s+/g, ' '), text: fill(body, values) }
}

function tokenOf(sealed: Uint8Array, key: Uint8Array): string {
  try {
    return openToken(sealed, key)
  } catch {
    throw new Error('its token cannot be opened; the API and the worker need the same JWT_SECRET')
  }
}
