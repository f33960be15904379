/**
 * Counts publications by what paid for them. The database sends a notice on the connection that publishes. So there is no
 * extra statement, and a retry with the same idempotency key is not counted again. Counted when the statement has succeeded: after
 * the notice it may still fail, and a statement whose result a migration has changed is sent once more.
 */
import type { EventEmitter } from 'node:events'
import type pg from 'pg'
import { Counter, type Registry } from 'prom-client'

/** Raised by app_private.record_consumption. */
const NOTICE = 'listing published'

export function countPublications(pool: pg.Pool, registry: Registry): void {
  const publications = new Counter({
    name: 'publications_total',
    help: 'Listings published, by source: free_quota, subscription_quota, paid_extra.',
    labelNames: ['source'],
    registers: [registry],
  })
  pool.on('connect', client => {
    const { connection } = client as unknown as { connection: EventEmitter }
    let sources: string[] = []
    client.on('notice', ({ message, detail }) => {
      if (message === NOTICE) sources.push(detail ?? 'unknown')
    })
    connection.on('errorMessage', () => {
      sources = []
    })
    connection.on('readyForQuery', () => {
      for (const source of sources) publications.inc({ source })
      sources = []
    })
  })
}
