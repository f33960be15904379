/** `GET /metrics`: Prometheus text. */
import type { Express } from 'express'
import type { Registry } from 'prom-client'

export function installMetrics(app: Express, registry: Registry): void {
  app.get('/metrics', async (_request, response) => {
    response.type(registry.contentType).send(await registry.metrics())
  })
}
