/** A TCP relay to the database. A test can cut or stall it to simulate a network failure. */
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'

export type Relay = {
  /** The URL of the database through the relay. */
  url: string
  /** Closes every connection and refuses new ones. */
  cut(): Promise<void>
  restore(): Promise<void>
  /** Keeps every connection open but forwards nothing more. */
  stall(): void
  /** New connections lead to this server from now on. */
  leadTo(databaseUrl: string): void
}

/** Receives each chunk that a client sends. `connection` is the same object for all chunks of a connection. */
export type Tap = (sent: Buffer, connection: object) => void

export async function startRelay(databaseUrl: string, tap?: Tap): Promise<Relay> {
  let target = new URL(databaseUrl)
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
    leadTo(other) {
      target = new URL(other)
    },
  }
}

/** Replaces a relay that is cut: accepts every connection and never responds. Call the returned function to stop it. */
export async function startSilentServer(relay: Relay): Promise<() => Promise<void>> {
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
