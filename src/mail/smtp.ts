/** Sends mail by SMTP: alerts to operators, and the mails of the outbox to users. */
import { createTransport } from 'nodemailer'
import type { Mail } from './mail.ts'

/** Timeout of each step of one attempt. */
const SEND_TIMEOUT_MS = 10_000

/** Returns a function that sends a mail. It rejects with the codes of the failure, without an address or a secret. */
export function makeSmtp({ smtpUrl, from }: { smtpUrl: string; from: string }) {
  const transport = createTransport({
    url: smtpUrl,
    connectionTimeout: SEND_TIMEOUT_MS,
    greetingTimeout: SEND_TIMEOUT_MS,
    socketTimeout: SEND_TIMEOUT_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  return async ({ id, to, ...mail }: Mail): Promise<void> => {
    try {
      await transport.sendMail({
        ...mail,
        from,
        to: [...to],
        messageId: `<${id}@${from.slice(from.indexOf('@') + 1)}>`,
      })
    } catch (error) {
      throw new Error(reasonOf(error as { code?: unknown; responseCode?: unknown }))
    }
  }
}

/** The message of a mail server may contain addresses and logins, so only codes are reported. */
function reasonOf({ code, responseCode }: { code?: unknown; responseCode?: unknown }): string {
  return [code, responseCode].filter(part => part !== undefined).join(' ') || 'unknown reason'
}
