/** `/healthz`: the process runs. `/readyz`: whether it can serve requests, and if not, why. */
import type { Express } from 'express'

export function installHealth(app: Express, readinessFault: () => Promise<string | undefined>): void {
  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok' })
  })
  app.get('/readyz', async (_request, response) => {
    const reason = await readinessFault()
    if (reason === undefined) response.json({ status: 'ready' })
    else response.status(503).json({ status: 'not ready', reason })
  })
}
