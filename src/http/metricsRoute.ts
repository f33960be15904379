/** `GET /metrics`, for Prometheus: on the port of the API, or on a port of its own. */
import type { Server } from 'node:http'
import express, { type Express } from 'express'
import type { Reading } from '../metrics/startMetrics.ts'
import { makeServer } from './server.ts'

/** Enough for some scrapers and a person with curl. */
const MAX_CONNECTIONS = 20

export function installMetrics(app: Express, read: () => Promise<Reading>): void {
  app.get('/metrics', async (_request, response) => {
    const { contentType, text } = await read()
    response.type(contentType).send(text)
  })
}

/** A server that serves only `/metrics`. */
export function makeMetricsServer(read: () => Promise<Reading>): Server {
  const app = express()
  app.set('etag', false)
  app.disable('x-powered-by')
  installMetrics(app, read)
  const server = makeServer(MAX_CONNECTIONS)
  server.on('request', app)
  return server
}
