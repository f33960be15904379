/** The common parts of the reference servers: verified tokens, a pool, a port. */
import type { AddressInfo } from 'node:net'
import type { Express, RequestHandler } from 'express'
import pg from 'pg'
import { authenticator } from '../../src/database/authenticator.ts'
import { makeTokens } from '../../src/identity/tokens.ts'

const { DATABASE_URL = '', JWT_SECRET = '', POOL_SIZE = '10' } = process.env

/** Sets `response.locals.identity`. */
export function requireToken(): RequestHandler {
  const { verify } = makeTokens(JWT_SECRET)
  return async (request, response, next) => {
    try {
      response.locals.identity = await verify(request.headers.authorization?.slice('Bearer '.length) ?? '')
    } catch {
      response.status(401).json({ error: 'unauthenticated' })
      return
    }
    next()
  }
}

/** A pool of the same size as the API's, as the same login or as the owner of the tables. */
export function makePool({ name, as }: { name: string; as: 'authenticator' | 'owner' }): pg.Pool {
  const config =
    as === 'owner' ? { connectionString: DATABASE_URL } : authenticator({ databaseUrl: DATABASE_URL }).config
  const max = Number(POOL_SIZE)
  const pool = new pg.Pool({ ...config, max, application_name: name, options: '-c lock_timeout=3s' })
  pool.on('error', () => {})
  return pool
}

/** Prints the URL to standard output. SIGINT and SIGTERM end the process. */
export function listen(app: Express): void {
  const server = app.listen(0, '127.0.0.1', () => {
    const { port } = server.address() as AddressInfo
    process.stdout.write(`listening on http://127.0.0.1:${port}\n`)
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(0))
}
