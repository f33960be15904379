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

/** The names of the variables that set where to listen, for messages. */
type Variables = Readonly<{ host: string; port: string }>

const API_VARIABLES: Variables = { host: 'HOST', port: 'PORT' }
export const METRICS_VARIABLES: Variables = { host: 'METRICS_HOST', port: 'METRICS_PORT' }

/** Resolves with the URL once the server accepts connections; rejects with a sentence if it cannot listen. */
export function listen(
  server: Server,
  host: string,
  port: number,
  variables = API_VARIABLES,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException) =>
      reject(new Error(listenFault(error, host, port, variables), { cause: error }))
    server.once('error', refuse)
    server.listen(port, host, () => {
      server.off('error', refuse)
      const { port: actual } = server.address() as AddressInfo
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${actual}`)
    })
  })
}

/** Rejects if the process cannot listen here. A start checks this first, because its other steps are slow. */
export async function requireFree(host: string, port: number, variables = API_VARIABLES): Promise<void> {
  const probe = createServer()
  await listen(probe, host, port, variables)
  await new Promise(resolve => probe.close(resolve))
}

function listenFault(error: NodeJS.ErrnoException, host: string, port: number, variables: Variables): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `Port ${port} on ${host} is in use. Please stop the process that uses it, or set ${variables.port}.`
    case 'EACCES':
      return `This user may not listen on port ${port}. Please set ${variables.port} to 1024 or more.`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `This machine has no address ${host}. Please set ${variables.host} to one that it has.`
    default:
      return `Cannot listen on port ${port} of ${host} (${error.message}). Please set ${variables.port} or ${variables.host}.`
  }
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
