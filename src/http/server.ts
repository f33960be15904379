/** The HTTP server. It stops without dropping a response. */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A stop waits this long for responses in progress. */
const DRAIN_MS = 10_000
/** During a stop, idle connections are closed this often. */
const SWEEP_MS = 50
/** Timeouts of requests are checked this often. */
const CHECK_MS = 1_000

/** Timeouts for slow clients. */
export type ClientTimeouts = Readonly<{
  /** To send the head of a request. */
  headMs: number
  /** To send the whole request. */
  requestMs: number
  /** To read the response. */
  responseMs: number
}>

const TIMEOUTS: ClientTimeouts = { headMs: 5_000, requestMs: 15_000, responseMs: 30_000 }
/** Longer than the idle timeout of common proxies (60 s), so that the proxy closes idle connections and not this server. */
const KEEP_ALIVE_MS = 65_000

export function makeServer(maxConnections: number, timeouts = TIMEOUTS): Server {
  const server = createServer({
    headersTimeout: timeouts.headMs,
    requestTimeout: timeouts.requestMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: Math.min(CHECK_MS, timeouts.headMs),
  })
  // further connections are closed immediately, so that the client can try another process
  server.maxConnections = maxConnections
  server.on('request', (_request, response) => closeOnSlowRead(response, timeouts.responseMs))
  return server
}

/** Closes the connection of a client that does not read its response, which would stay in memory forever. */
function closeOnSlowRead(response: ServerResponse, timeoutMs: number): void {
  response.once('prefinish', () => {
    if (response.writableFinished || response.writableLength === 0) return
    const timer = setTimeout(() => response.destroy(), timeoutMs).unref()
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
  // a keep-alive connection becomes idle only after its response is sent
  const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS)
  const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
  server.closeIdleConnections()
  await closed
  clearInterval(sweep)
  clearTimeout(deadline)
}
