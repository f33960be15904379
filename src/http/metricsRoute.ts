/** `GET /metrics`, for Prometheus. */
import type { Express } from 'express'
import type { Reading } from '../metrics/startMetrics.ts'

export function installMetrics(app: Express, read: () => Promise<Reading>): void {
  app.get('/metrics', async (_request, response) => {
    const { contentType, text } = await read()
    response.type(contentType).send(text)
  })
}
