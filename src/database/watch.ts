/**
 * Tells a process when rows change that it keeps in memory. NOTIFY reports a change at once; a poll finds a change that was made while
 * the listener was disconnected. All channels share one connection.
 */
import pg from 'pg'
import { CONNECT_TIMEOUT_MS } from './pool.ts'

export type Watch = {
  /** Calls `reload` at each notification and at each poll, one call at a time. It must not reject. Resolves when the process listens. */
  add(channel: string, reload: () => Promise<void>): Promise<void>
  /** Resolves after the last reload. */
  stop(): Promise<void>
}

/** `run` starts a reload, or one more after the one that runs. */
type Reload = { run(): void; ended(): Promise<void> }

const POLL_MS = 750

/** LISTEN needs its own connection. */
export function startWatch(config: pg.ClientConfig): Watch {
  const reloads = new Map<string, Reload>()
  let stopped = false
  let listener: pg.Client | undefined
  let connecting: Promise<void> | undefined

  async function connect(): Promise<void> {
    // without a timeout, a server that is silent now would be waited for for ever
    const client = new pg.Client({
      ...config,
      application_name: 'forecourt listener',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: CONNECT_TIMEOUT_MS,
    })
    const forget = () => {
      if (listener === client) listener = undefined
    }
    client.on('error', forget)
    client.on('end', forget)
    client.on('notification', ({ channel }) => reloads.get(channel)?.run())
    try {
      await client.connect()
      for (const channel of reloads.keys()) await client.query(`listen ${channel}`)
      listener = client
      if (stopped) await client.end()
    } catch {
      // the next poll tries again
      client.end().catch(() => {})
    }
  }

  function listen(): Promise<void> {
    connecting ??= connect().finally(() => {
      connecting = undefined
    })
    return connecting
  }

  const poll = setInterval(() => {
    // not awaited: a server that accepts no listener must not hold up the polls
    if (listener === undefined) void listen()
    for (const reload of reloads.values()) reload.run()
  }, POLL_MS)
  return {
    async add(channel, reload) {
      reloads.set(channel, oneAtATime(reload))
      if (listener === undefined) await listen()
      // a listener that fails here is replaced by the next poll
      else await listener.query(`listen ${channel}`).catch(() => listener?.end())
    },
    async stop() {
      stopped = true
      clearInterval(poll)
      await Promise.all([...reloads.values()].map(reload => reload.ended()))
      // not awaited: a server that has gone silent never closes its side
      listener?.end().catch(() => {})
    },
  }
}

function oneAtATime(work: () => Promise<void>): Reload {
  let running: Promise<void> | undefined
  let again = false
  async function runAll(): Promise<void> {
    do {
      again = false
      await work()
    } while (again)
    running = undefined
  }
  return {
    run() {
      if (running === undefined) running = runAll()
      else again = true
    },
    async ended() {
      again = false
      await running
    },
  }
}
