/** Delivers the mails of the outbox: by SMTP, or into files on the machine of a developer. */
import type { MailConfiguration } from '../configuration.ts'
import type { UserMail } from './mail.ts'

export type Mailer = {
  /** For the log at the start. */
  description: string
  /** Rejects if the mail was not accepted. The error says why, without an address or a secret. */
  send(mail: UserMail): Promise<void>
}

/** Returns undefined if no way is configured. `directory` is used where there is no mail server. */
export async function makeMailer(
  { smtpUrl, from }: MailConfiguration,
  directory?: string,
): Promise<Mailer | undefined> {
  if (smtpUrl !== undefined && from !== undefined) {
    // the mail packages are large, so they are loaded only if mail is configured
    const { makeSmtp } = await import('./smtp.ts')
    return { description: 'mails to users are sent by SMTP', send: makeSmtp({ smtpUrl, from }) }
  }
  if (directory === undefined) return undefined
  const { makeFiles } = await import('./files.ts')
  return { description: `mails to users are written to ${directory}`, send: makeFiles(directory, from) }
}
