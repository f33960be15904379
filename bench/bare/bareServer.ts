/** The same SQL behind only express and pg: the least work between HTTP and Postgres. */
import express, { type Express, type Request, type Response } from 'express'
import type pg from 'pg'
import type { UserIdentity } from '../../src/request/identity.ts'
import { listen, makePool, requireToken } from '../support/express.ts'
import { asCaller, type RoundTrips } from './caller.ts'
import { PAGE_SIZE, type Read, type Row, reads } from './reads.ts'

/** Returns the same columns as `createListing`. */
const PUBLISH = {
  name: 'publish',
  text: `
    select l.id, upper(l.status::text) as status, l.title, upper(c.source::text) as source,
      c.net_amount, c.vat_rate, c.gross_amount, c.currency
    from app_public.create_listing($1, $2, $3, $4, $5, $6) as l
    cross join lateral app_public.consumption_of_listing(l.dealer_id, l.id) as c`,
}

async function publish(pool: pg.Pool, identity: UserIdentity, body: Record<string, string>) {
  const { dealerId, idempotencyKey, title, module, price, currency } = body
  const values = [dealerId, idempotencyKey, title, module, price, currency]
  const [row = {}] = await asCaller<Record<string, string>>(pool, identity, { ...PUBLISH, values })
  const consumption = {
    source: row.source,
    netAmount: row.net_amount,
    vatRate: row.vat_rate,
    grossAmount: row.gross_amount,
    currency: row.currency,
  }
  return { createListing: { listing: { id: row.id, status: row.status, title: row.title, consumption } } }
}

function answerRead(read: Read, how: RoundTrips) {
  const { name, text } = read
  return async (identity: UserIdentity, body: Record<string, string>) =>
    read.answer(await asCaller<Row>(pool, identity, { name, text, values: read.values(body) }, how))
}

/** Sends a stored response of the same size, to measure the limit of the generator. */
function installCeiling(app: Express): void {
  let answer: unknown = {}
  app.post('/ceiling/set', (request, response) => {
    answer = request.body
    response.json({ data: null })
  })
  app.post('/ceiling', (_request, response) => {
    response.json(answer)
  })
}

const pool = makePool({ name: 'forecourt bench bare', as: 'authenticator' })
const bare = express()
bare.use(express.json())
installCeiling(bare)
bare.use(requireToken())
const route = (
  path: string,
  work: (identity: UserIdentity, body: Record<string, string>) => Promise<unknown>,
) =>
  bare.post(path, async (request: Request, response: Response) => {
    response.json({ data: await work(response.locals.identity, request.body) })
  })
route('/publish', (identity, body) => publish(pool, identity, body))
for (const read of reads(PAGE_SIZE)) {
  route(`/${read.name}/one`, answerRead(read, 'one round trip'))
  route(`/${read.name}/four`, answerRead(read, 'four round trips'))
}
listen(bare)
