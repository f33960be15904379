/**
 * Watches the server process and starts it again once. A second end is reported, so that the process does not live on without
 * its database.
 */

import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 1_000

export type WatchOptions = {
  /** The log of the server, named in the error. */
  logFile: string
  isAlive: () => boolean
  restart: () => Promise<void>
  onLost: (error: Error) => void
  log: (message: string) => void
}

/** Returns a function that ends the watch. It waits for a restart in progress. */
export function watchServer({ logFile, isAlive, restart, onLost, log }: WatchOptions): () => Promise<void> {
  const stopping = new AbortController()
  /** Returns once the server has died or the watch has ended. */
  async function untilDead(): Promise<void> {
    while (!stopping.signal.aborted && isAlive()) {
      await sleep(POLL_MS, undefined, { signal: stopping.signal, ref: false }).catch(() => {})
    }
  }
  const watched = (async () => {
    await untilDead()
    if (stopping.signal.aborted) return
    log('Postgres has ended without being asked to; it starts again')
    await restart()
    await untilDead()
    if (!stopping.signal.aborted) throw new Error(`Postgres has ended twice. Please read ${logFile}.`)
  })().catch(error => onLost(error))
  return async () => {
    stopping.abort()
    await watched
  }
}
