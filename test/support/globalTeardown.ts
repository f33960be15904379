/** Stops the temporary Postgres and removes its files. */
import { rmSync } from 'node:fs'

export default async function globalTeardown(): Promise<void> {
  const running = globalThis.forecourtTestServer
  if (running === undefined) return
  await running.server.stop()
  rmSync(running.directory, { recursive: true, force: true })
}
