/** Alerts as JSON to a URL of the operator's. */
import { type AlertChannel, PATIENCE_MS } from './channel.ts'

export function makeWebhookChannel(url: string): AlertChannel {
  return {
    name: 'webhook',
    async send(alert) {
      // chat systems show `text`
      const body = JSON.stringify({ ...alert, text: `${alert.kind}: ${alert.message}` })
      const headers = { 'content-type': 'application/json', 'idempotency-key': alert.id }
      const response = await post(url, { headers, body })
      await response.body?.cancel()
      if (!response.ok) throw new Error(`the webhook answered ${response.status}`)
    },
  }
}

/** Errors of fetch may name the URL, which may hold a secret: only their code goes on. */
async function post(url: string, request: RequestInit): Promise<Response> {
  const signal = AbortSignal.timeout(PATIENCE_MS)
  try {
    return await fetch(url, { method: 'POST', redirect: 'manual', signal, ...request })
  } catch (error) {
    const { name, cause } = error as { name: string; cause?: { code?: unknown } }
    throw new Error(`the webhook gives no answer (${cause?.code ?? name})`)
  }
}
