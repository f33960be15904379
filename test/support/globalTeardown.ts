/** Stops the temporary Postgres and removes its files. */
import { rmSync } from 'node:fs'
import type { TemporaryServer } from './globalSetup.ts'

export default async function globalTeardown(): Promise<void> {
  const running = globalThis.forecourtTestServer
  if (running !== undefined) await stopTemporaryServer(running)
}

export async function stopTemporaryServer({ server, directory }: TemporaryServer): Promise<void> {
  await server.stop()
  rmSync(directory, { recursive: true, force: true })
}
