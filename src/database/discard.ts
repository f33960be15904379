/** Closes connections of a pool when they are released, instead of using them again. */
import type pg from 'pg'

/** Returns a function that marks a connection. */
export function discardOnRelease(pool: pg.Pool): (client: object) => void {
  const marked = new WeakSet<object>()
  // the pool looks at the connection after this event, and opens another one in place of a closed one
  pool.on('release', (_error, client) => {
    if (marked.has(client)) void client.end()
  })
  return client => void marked.add(client)
}
