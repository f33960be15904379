/** The HTTP server: listens, and stops without dropping an answer. */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Longest that a stop waits for answers in progress, in milliseconds. */
const DRAIN_MS = 10_000

/** Timeouts for slow clients, in milliseconds. */
export type ClientTimeouts = Readonly<{
  /** For sending the head of a request. */
  head: number
  /** For sending all of a request. */
  request: number
  /** For reading the answer. */
  answer: number
}>

const TIMEOUTS: ClientTimeouts = { head: 5_000, request: 15_000, answer: 30_000 }
/** Longer than the idle timeout of common proxies (60 s), so that the proxy closes a connection and never sends on a closed one. */
const IDLE_MS = 65_000

export function makeServer(maxConnections: number, timeouts = TIMEOUTS): Server {
  const server = createServer({
    headersTimeout: timeouts.head,
    requestTimeout: timeouts.request,
    keepAliveTimeout: IDLE_MS,
    connectionsCheckingInterval: Math.min(1_000, timeouts.head),
  })
  // further connections are closed immediately, so that the client can try another process
  server.maxConnections = maxConnections
  server.on('request', (_request, response) => cutOffSlowReader(response, timeouts.answer))
  return server
}

/** Closes the connection of a client that does not read its answer; otherwise the answer stays in memory for ever. */
function cutOffSlowReader(response: ServerResponse, timeout: number): void {
  response.once('prefinish', () => {
    if (response.writableFinished || response.writableLength === 0) return
    const timer = setTimeout(() => response.destroy(), timeout).unref()
    response.once('close', () => clearTimeout(timer))
  })
}

/** Resolves with the URL once the server accepts connections; rejects if it cannot listen. */
export function listen(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      const { port: actual } = server.address() as AddressInfo
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${actual}`)
    })
  })
}

/** Accepts no new connections, waits for running requests, and closes the connections that are left after DRAIN_MS. */
export async function drain(server: Server): Promise<void> {
  if (!server.listening) return
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  // a keep-alive connection becomes idle only after its answer is sent
  const sweep = setInterval(() => server.closeIdleConnections(), 50)
  const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
  server.closeIdleConnections()
  await closed
  clearInterval(sweep)
  clearTimeout(deadline)
}
