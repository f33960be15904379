/** Alerts by e-mail. */
import { createTransport } from 'nodemailer'
import type { AlertConfiguration } from '../configuration.ts'
import { type AlertChannel, PATIENCE_MS } from './channel.ts'

type EmailConfiguration = NonNullable<AlertConfiguration['email']>

export function makeEmailChannel({ to, from, smtpUrl }: EmailConfiguration): AlertChannel {
  const transport = createTransport({
    url: smtpUrl,
    connectionTimeout: PATIENCE_MS,
    greetingTimeout: PATIENCE_MS,
    socketTimeout: PATIENCE_MS,
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
        // the same at each attempt, so that mail systems know a second one
        messageId: `<${alert.id}@${domain}>`,
        date: alert.createdAt,
        subject: `Forecourt: ${alert.kind}: ${alert.message}`.slice(0, 200),
        text: `${alert.message}\n\n${JSON.stringify(alert.details, null, 2)}\n\n${alert.kind}, raised at ${alert.createdAt.toISOString()}\n`,
      }
      await transport.sendMail(mail).catch(error => {
        throw new Error(`the mail server does not take it (${reason(error)})`)
      })
    },
  }
}

/** The prose of a mail server may repeat addresses and log-ins: only codes go on. */
function reason({ code, responseCode }: { code?: unknown; responseCode?: unknown }): string {
  return [code, responseCode].filter(part => part !== undefined).join(' ') || 'for no known reason'
}
