/** What a channel of alerts is. */

/** Longest that one attempt may wait for the other side, in milliseconds. */
export const PATIENCE_MS = 10_000

export type Alert = {
  /** The receiver's idempotency key: the same alert comes twice where the answer to the first was lost. */
  id: string
  kind: string
  key: string
  message: string
  details: Record<string, unknown>
  createdAt: Date
}

export type AlertChannel = {
  name: 'webhook' | 'email'
  /** Rejects when the alert was not taken; the error says why, and holds no address and no secret. */
  send(alert: Alert): Promise<void>
}
