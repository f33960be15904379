/** Sends alerts as JSON to the operator's URL. */
import { type AlertChannel, SEND_TIMEOUT_MS } from './channel.ts'

export function makeWebhookChannel(url: string): AlertChannel {
  return {
    name: 'webhook',
    async send(alert) {
      // chat systems show `text`
      const body = JSON.stringify({ ...alert, text: `${alert.kind}: ${alert.message}` })
      const headers = { 'content-type': 'application/json', 'idempotency-key': alert.id }
      const response = await post(url, { headers, body })
      await response.body?.cancel()
      if (!response.ok) throw new Error(`the webhook responded with ${response.status}`)
    },
  }
}

/** An error of fetch may contain the URL, which may hold a secret, so only its code is reported. */
async function post(url: string, request: RequestInit): Promise<Response> {
  const signal = AbortSignal.timeout(SEND_TIMEOUT_MS)
  try {
    return await fetch(url, { method: 'POST', redirect: 'manual', signal, ...request })
  } catch (error) {
    const { name, cause } = error as { name: string; cause?: { code?: unknown } }
    throw new Error(`the webhook did not respond (${cause?.code ?? name})`)
  }
}
