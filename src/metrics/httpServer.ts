/** Metrics of the HTTP server: connections, and requests that run, queue or are refused. */
import type { Server } from 'node:http'
import { Counter, Gauge, type Registry } from 'prom-client'

export type AdmissionMetrics = ReturnType<typeof makeAdmissionMetrics>

export function makeAdmissionMetrics(registry: Registry) {
  const registers = [registry]
  return {
    /** Reads the numbers of running and queued requests at each scrape. */
    watch(slots: { inUse(): number; queued(): number }): void {
      gauge('admission_in_progress', 'GraphQL requests in progress.', registry, () => slots.inUse())
      gauge('admission_waiting', 'GraphQL requests that wait for a slot.', registry, () => slots.queued())
    },
    refused: new Counter({
      name: 'admission_refused_total',
      help: 'GraphQL requests refused with 503 because too many were in progress.',
      registers,
    }),
  }
}

export function reportConnections(server: Server, registry: Registry): void {
  const dropped = new Counter({
    name: 'http_connections_dropped_total',
    help: 'Connections closed at once because MAX_CONNECTIONS were open.',
    registers: [registry],
  })
  server.on('drop', () => dropped.inc())
  const count = () =>
    new Promise<number>((resolve, reject) => {
      server.getConnections((error, connections) => (error ? reject(error) : resolve(connections)))
    })
  gauge('http_connections', 'Open client connections.', registry, count)
}

function gauge(name: string, help: string, registry: Registry, read: () => number | Promise<number>): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    async collect() {
      this.set(await read())
    },
  })
}
