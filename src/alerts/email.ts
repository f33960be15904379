/** Sends alerts by e-mail. */
import type { AlertConfiguration } from '../configuration.ts'
import { makeSmtp } from '../mail/smtp.ts'
import type { AlertChannel } from './channel.ts'

type EmailConfiguration = NonNullable<AlertConfiguration['email']>

export function makeEmailChannel({ to, from, smtpUrl }: EmailConfiguration): AlertChannel {
  const send = makeSmtp({ smtpUrl, from })
  return {
    name: 'email',
    async send(alert) {
      const mail = {
        id: alert.id,
        to,
        date: alert.createdAt,
        subject: `Forecourt: ${alert.kind}: ${alert.message}`.slice(0, 200),
        text: `${alert.message}\n\n${JSON.stringify(alert.details, null, 2)}\n\n${alert.kind}, raised at ${alert.createdAt.toISOString()}\n`,
      }
      await send(mail).catch(({ message }: Error) => {
        throw new Error(`the mail server did not accept the alert (${message})`)
      })
    },
  }
}
