/** The interface of an alert channel. */

/** Timeout of one attempt. */
export const SEND_TIMEOUT_MS = 10_000

export type Alert = {
  /** The receiver's idempotency key: an alert is sent again if the response to the first attempt was lost. */
  id: string
  kind: string
  key: string
  message: string
  details: Record<string, unknown>
  createdAt: Date
}

export type AlertChannel = {
  name: 'webhook' | 'email'
  /** Rejects if the receiver did not accept the alert. The error says why, without an address or a secret. */
  send(alert: Alert): Promise<void>
}
