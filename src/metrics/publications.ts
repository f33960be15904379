/** Counts publications by what paid for them. */
import { Counter, type Registry } from 'prom-client'

/** Returns the function that counts a publication. Call it once for each, after its transaction. */
export function countPublications(registry: Registry): (source: string) => void {
  const publications = new Counter({
    name: 'publications_total',
    help: 'Listings published, by source: free_quota, subscription_quota, paid_extra.',
    labelNames: ['source'],
    registers: [registry],
  })
  return source => publications.inc({ source })
}
