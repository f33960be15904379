/** A line to the database that a test can cut, as a network does. */

import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'

export type Relay = {
  /** The database's URL by way of the relay. */
  url: string
  /** Ends every connection without a word, and refuses new ones. */
  cut(): Promise<void>
  restore(): Promise<void>
  /** Keeps every connection, and lets nothing through on it any more. */
  stall(): void
}

/** Sees what a client sends, as it comes; `connection` is the same for all of one connection. */
export type Tap = (sent: Buffer, connection: object) => void

export async function startRelay(databaseUrl: string, tap?: Tap): Promise<Relay> {
  const target = new URL(databaseUrl)
  const sockets = new Set<Socket>()
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket))
    return socket
  }
  const server = createServer(client => {
    const upstream = keep(connect(Number(target.port), target.hostname))
    keep(client).pipe(upstream).pipe(client)
    if (tap !== undefined) client.on('data', sent => tap(sent as Buffer, client))
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  })
  const listen = (port: number) => new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  await listen(0)
  const { port } = server.address() as AddressInfo
  const url = new URL(databaseUrl)
  url.host = `127.0.0.1:${port}`
  return {
    url: url.href,
    async cut() {
      const closed = new Promise(resolve => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
    restore: () => listen(port),
    stall() {
      for (const socket of sockets) socket.unpipe().pause()
    },
  }
}

/** In place of a relay that is cut: takes every connection, and never says a word. Ends with what it returns. */
export async function swallow(relay: Relay): Promise<() => Promise<void>> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => sockets.add(socket.on('error', () => {})))
  const { port } = new URL(relay.url)
  await new Promise<void>(resolve => server.listen(Number(port), '127.0.0.1', resolve))
  return async () => {
    const closed = new Promise(resolve => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await closed
  }
}
