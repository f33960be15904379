/**
 * Checks the connection on which graphile-worker listens for new jobs. graphile-worker sends no queries on it, so no timeout
 * would show that the server is silent, and a stop would wait for its response.
 */
import type { WorkerEvents } from 'graphile-worker'
import type pg from 'pg'

const CHECK_MS = 5_000

/** Closes a listening connection that does not respond. graphile-worker then opens another one. */
export function checkListener(events: WorkerEvents, checkMs = CHECK_MS): void {
  let timer: NodeJS.Timeout | undefined
  events.on('pool:listen:success', ({ client }) => {
    clearInterval(timer)
    timer = setInterval(() => void check(client, checkMs), checkMs).unref()
  })
  events.on('pool:listen:release', () => clearInterval(timer))
}

async function check(client: pg.PoolClient, deadlineMs: number): Promise<void> {
  // a variable, because the types of pg do not know the timeout of a query
  const probe = { text: 'select', query_timeout: deadlineMs }
  try {
    await client.query(probe)
  } catch (error) {
    const { stream } = (client as unknown as { connection: { stream: { destroy(reason: unknown): void } } })
      .connection
    // not end(), which emits no error, so that graphile-worker would not notice
    stream.destroy(error)
  }
}
