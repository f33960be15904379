/** A mail that is sent. */

export type Mail = {
  /** The same for each attempt, so that mail systems recognise a duplicate. */
  id: string
  to: readonly string[]
  date: Date
  subject: string
  /** Plain text. */
  text: string
}

/** A mail of the outbox. */
export type UserMail = Mail & { kind: string }
