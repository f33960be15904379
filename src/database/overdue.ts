/**
 * Cancels statements that run longer than the driver waits for them. Closing the connection would not end them: the backend
 * notices only when it sends its response, and meanwhile the pool opens another connection. While a synchronous standby is away,
 * each commit waits, so the number of backends would have no bound.
 *
 * A connection counts against the pool until its statement has ended. It is not used again, because the cancel could arrive late
 * and hit the next statement.
 */
import type { EventEmitter } from 'node:events'
import pg from 'pg'
import type { Discard } from './discard.ts'

/**
 * The server's function that reports, as a warning, that a commit no longer waits for its standby. The server may translate the
 * message of the warning, but not this name.
 */
const UNCONFIRMED = 'SyncRepWaitForLSN'
const CONNECT_TIMEOUT_MS = 2_000
/** The cancel request is sent this long before the driver's own timeout. */
const LEAD_MS = 1_000

/** The parts of the driver that its types leave out. */
type Backend = { processID: number; secretKey: number }
type Running = { _activeQuery: { _canceledDueToError: Error | false } | null }
type Connection = EventEmitter & {
  stream: { destroy(): void }
  connect(port: number | string, host?: string): void
  requestSsl(): void
  cancel(processID: number, secretKey: number): void
}
type Canceller = { connection: Connection; host: string; port: number; ssl: unknown; sslNegotiation: string }

/** Cancels each statement that has not ended after this time, or a second before its own `query_timeout` if that is later. */
export function cancelOverdue(
  pool: pg.Pool,
  { discard, config, afterMs }: { discard: Discard; config: pg.ClientConfig; afterMs: number },
): void {
  pool.on('connect', client =>
    watchStatements(client, afterMs, () => {
      discard(client)
      sendCancel(config, client as unknown as Backend)
    }),
  )
}

/** Wraps `query`, because the driver's events do not say when a statement starts. */
function watchStatements(client: pg.PoolClient, afterMs: number, onOverdue: () => void): void {
  const { connection } = client as unknown as { connection: Connection }
  const query = client.query.bind(client) as (...given: unknown[]) => unknown
  let sent = 0
  let limitMs = afterMs
  let timer: NodeJS.Timeout | undefined
  const restart = () => {
    clearTimeout(timer)
    if (sent > 0) timer = setTimeout(onOverdue, limitMs).unref()
  }
  client.query = ((...given: unknown[]) => {
    const { query_timeout = 0 } = Object(given[0]) as { query_timeout?: number }
    limitMs = Math.max(sent === 0 ? afterMs : limitMs, query_timeout - LEAD_MS)
    sent += 1
    if (sent === 1) restart()
    return query(...given)
  }) as typeof client.query
  connection.on('readyForQuery', () => {
    sent -= 1
    restart()
  })
  connection.on('end', () => clearTimeout(timer))
}

/**
 * A cancel ends the wait for the standby, but not the transaction: it is committed here, and may be lost with this server. The
 * statement then fails as if its connection had broken, so that the client retries with the same key.
 */
export function failUnconfirmed(pool: pg.Pool): void {
  pool.on('connect', client =>
    client.on('notice', ({ routine }) => {
      const { _activeQuery: query } = client as unknown as Running
      if (routine === UNCONFIRMED && query) query._canceledDueToError = unconfirmed()
    }),
  )
}

function unconfirmed(): Error {
  return Object.assign(new Error('no synchronous standby has confirmed the commit'), { code: 'ETIMEDOUT' })
}

/** Sends a cancel request on a connection of its own, as the protocol requires. The server closes it without a response. */
function sendCancel(config: pg.ClientConfig, { processID, secretKey }: Backend): void {
  const { connection, host, port, ssl, sslNegotiation } = new pg.Client(config) as unknown as Canceller
  const end = () => connection.stream.destroy()
  const timeout = setTimeout(end, CONNECT_TIMEOUT_MS).unref()
  const cancel = () => connection.cancel(processID, secretKey)
  // if the server does not take the request, the driver's own timeout ends the statement
  connection.on('error', end).on('end', () => clearTimeout(timeout))
  connection.on('connect', () => {
    if (!ssl) cancel()
    else if (sslNegotiation !== 'direct') connection.requestSsl()
  })
  connection.on('sslconnect', cancel)
  if (host.startsWith('/')) connection.connect(`${host}/.s.PGSQL.${port}`)
  else connection.connect(port, host)
}
