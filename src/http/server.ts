/** The HTTP server: listens, and stops without dropping an answer. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Longest that answers in progress may hold up a stop, in milliseconds. */
const DRAIN_MS = 10_000

export function makeServer(): Server {
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 10_000, keepAliveTimeout: 65_000 })
  return server
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
