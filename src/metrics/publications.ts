/**
 * Publications by what paid for them. The database says so with a notice on the connection that publishes: no statement more,
 * and a request that is answered a second time is not counted again.
 */
import type pg from 'pg'
import { Counter, type Registry } from 'prom-client'

/** As app_private.record_consumption has it. */
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
