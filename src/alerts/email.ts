/** Sends alerts by e-mail. */
import { createTransport } from 'nodemailer'
import type { AlertConfiguration } from '../configuration.ts'
import { type AlertChannel, SEND_TIMEOUT_MS } from './channel.ts'

type EmailConfiguration = NonNullable<AlertConfiguration['email']>

export function makeEmailChannel({ to, from, smtpUrl }: EmailConfiguration): AlertChannel {
  const transport = createTransport({
    url: smtpUrl,
    connectionTimeout: SEND_TIMEOUT_MS,
    greetingTimeout: SEND_TIMEOUT_MS,
    socketTimeout: SEND_TIMEOUT_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  return {
    name: 'email',
    async send(alert) {
      const domain = from.slice(from.indexOf('@') + 1)
      const mail = {
        from,
        to: [...to],
        // the same for each attempt, so that mail systems recognise a duplicate
        messageId: `<${alert.id}@${domain}>`,
        date: alert.createdAt,
        subject: `Forecourt: ${alert.kind}: ${alert.message}`.slice(0, 200),
        text: `${alert.message}\n\n${JSON.stringify(alert.details, null, 2)}\n\n${alert.kind}, raised at ${alert.createdAt.toISOString()}\n`,
      }
      await transport.sendMail(mail).catch(error => {
        throw new Error(`the mail server did not accept the alert (${reasonOf(error)})`)
      })
    },
  }
}

/** The message of a mail server may contain addresses and logins, so only codes are reported. */
function reasonOf({ code, responseCode }: { code?: unknown; responseCode?: unknown }): string {
  return [code, responseCode].filter(part => part !== undefined).join(' ') || 'unknown reason'
}
