/** Sends any request, even one that `fetch` refuses to send, and checks the rules that hold for every response. */
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'

export type Sent = {
  method: string
  path: string
  /** Names and values alternate. A name may occur twice. */
  headers: string[]
  body?: Uint8Array | undefined
}

export type Received = { status: number; headers: IncomingHttpHeaders; text: string }

export type Client = { send(sent: Sent): Promise<Received>; close(): void }

/** A client that keeps its connections open. */
export function makeClient(url: string): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  const { hostname, port } = new URL(url)
  return {
    close: () => agent.destroy(),
    send: ({ method, path, headers, body }) =>
      new Promise((resolve, reject) => {
        const length = body === undefined ? [] : ['Content-Length', String(body.length)]
        const all = ['Host', `${hostname}:${port}`, ...headers, ...length]
        const outgoing = httpRequest({ agent, hostname, port, method, path, headers: all }, response => {
          const chunks: Buffer[] = []
          response.on('data', chunk => chunks.push(chunk))
          response.on('error', reject)
          response.on('end', () => {
            const { statusCode: status = 0, headers } = response
            resolve({ status, headers, text: Buffer.concat(chunks).toString('utf8') })
          })
        })
        outgoing.on('error', reject)
        outgoing.end(body)
      }),
  }
}

const JSON_TYPES = ['application/json; charset=utf-8', 'application/graphql-response+json; charset=utf-8']

/** The rules that a response breaks, out of those that hold for every request. */
export function brokenRules({ method, path }: Sent, { status, headers, text }: Received): string[] {
  const broken: string[] = []
  if (status >= 500) broken.push(`status ${status}`)
  if (status === 401 && headers['www-authenticate'] === undefined) broken.push('401 without WWW-Authenticate')
  if (status === 405 && headers.allow === undefined) broken.push('405 without Allow')
  if (!/^\/graphql(\?|$)/.test(path) || method === 'HEAD') return broken
  const type = String(headers['content-type']).replace(/;\s*/, '; ')
  if (!JSON_TYPES.includes(type)) broken.push(`media type ${type}`)
  return [...broken, ...brokenBody(text)]
}

function brokenBody(text: string): string[] {
  try {
    const { data, errors } = JSON.parse(text) as {
      data?: unknown
      errors?: { extensions?: { code?: string } }[]
    }
    if (data === undefined && errors === undefined) return ['neither data nor errors']
    const codes = errors?.map(({ extensions }) => extensions?.code) ?? []
    return codes.every(code => typeof code === 'string' && code !== 'internal_error')
      ? []
      : [`codes ${codes}`]
  } catch {
    return ['a body that is not JSON']
  }
}
