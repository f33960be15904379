/** The HTTP server: listens, and stops without dropping an answer. */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Longest that answers in progress may hold up a stop, in milliseconds. */
const DRAIN_MS = 10_000

/** Longest that a client may take, in milliseconds. */
export type Patience = Readonly<{
  /** To send the head of a request. */
  head: number
  /** To send all of it. */
  request: number
  /** To read the answer. */
  answer: number
}>

const PATIENCE: Patience = { head: 5_000, request: 15_000, answer: 30_000 }
/** A connection without a request is kept for longer than a proxy keeps it, so that the proxy is the one to close it. */
const IDLE_MS = 65_000

export function makeServer(maxConnections: number, patience = PATIENCE): Server {
  const server = createServer({
    headersTimeout: patience.head,
    requestTimeout: patience.request,
    keepAliveTimeout: IDLE_MS,
    connectionsCheckingInterval: Math.min(1_000, patience.head),
  })
  // more than these would only wait: closed at once, they can try another process
  server.maxConnections = maxConnections
  server.on('request', (_request, response) => cutOffSlowReader(response, patience.answer))
  return server
}

/** Ends the connection of a client that does not read its answer: it would hold the answer in memory for ever. */
function cutOffSlowReader(response: ServerResponse, patience: number): void {
  response.once('prefinish', () => {
    if (response.writableFinished || response.writableLength === 0) return
    const timer = setTimeout(() => response.destroy(), patience).unref()
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

/** Takes no new connections, lets running requests finish, and cuts off what has not by the deadline. */
export async function drain(server: Server): Promise<void> {
  if (!server.listening) return
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  // a keep-alive connection becomes idle only once its answer is out
  const sweep = setInterval(() => server.closeIdleConnections(), 50)
  const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
  server.closeIdleConnections()
  await closed
  clearInterval(sweep)
  clearTimeout(deadline)
}
