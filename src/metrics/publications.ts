/**
 * Counts publications by what paid for them. The database sends a notice on the connection that publishes. So there is no
 * extra statement, and a retry with the same idempotency key is not counted again.
 */
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
    client.on('notice', ({ message, detail }) => {
      if (message === NOTICE) publications.inc({ source: detail ?? 'unknown' })
    })
  })
}
