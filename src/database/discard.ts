/** Closes connections of a pool when they are released, instead of using them again. */
import type pg from 'pg'

/** Marks a connection of the pool. */
export type Discard = (client: object) => void

/** The part of the driver that its types leave out. */
type Internals = { _getActiveQuery(): unknown }

/**
 * Returns the function that marks a connection. A connection whose query has reached its timeout needs no mark: the query still
 * occupies it, and every later query would wait behind it.
 */
export function discardOnRelease(pool: pg.Pool): Discard {
  const marked = new WeakSet<object>()
  // the pool looks at the connection after this event, and opens another one in place of a closed one
  pool.on('release', (_error, client) => {
    const isBusy = (client as unknown as Internals)._getActiveQuery() !== null
    if (marked.has(client) || isBusy) void client.end()
  })
  return client => void marked.add(client)
}
