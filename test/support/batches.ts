/** Batches of listings: their input, over HTTP and as SQL, and what a client reads of their results. */
import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import type { Listing, TestServer } from './apiServer.ts'

export type BatchRow = Readonly<Record<string, unknown>> & { idempotencyKey: string }

export type BatchResult = {
  index: number
  listing: Listing | null
  error: { code: string; message: string; detail: Record<string, unknown> } | null
}

/** A listing of a batch. Each call has a key of its own. */
export function row(changes: Record<string, unknown> = {}): BatchRow {
  return {
    idempotencyKey: randomUUID(),
    title: 'A car',
    module: 'auto',
    price: '9900',
    currency: 'EUR',
    ...changes,
  }
}

export const rows = (count: number): BatchRow[] => Array.from({ length: count }, () => row())

const CREATE = `mutation ($input: CreateListingsInput!) {
  createListings(input: $input) {
    results {
      index
      listing { id status title consumption { source netAmount vatRate grossAmount currency } }
      error { code message detail }
    }
  }
}`

export async function createListings(
  server: TestServer,
  { token, dealerId }: { token: string; dealerId: string },
  listings: readonly unknown[],
) {
  const variables = { input: { dealerId, listings } }
  const response = await server.call<{ createListings: { results: BatchResult[] } | null } | null>(CREATE, {
    token,
    variables,
  })
  return { ...response, results: response.data?.createListings?.results ?? [] }
}

/** What paid for a listing, or the code of its error and the field that it names. */
export function brief({ listing, error }: BatchResult): string {
  if (error === null) return listing?.consumption.source ?? 'nothing'
  return [error.code, error.detail.field].filter(Boolean).join(' ')
}

/** A result of the SQL function: the id of the listing, or the SQLSTATE with the constraint or the rule. */
export type SqlResult = { id: string | null; refused: string | null }

const COLUMNS = 'idempotencyKey title module price currency description attributes images externalId'.split(
  ' ',
)

/** Publishes a batch through the SQL function, as the current user of the transaction. */
export async function publishBatch(
  db: Pick<pg.ClientBase, 'query'>,
  dealerId: string,
  listings: readonly BatchRow[],
): Promise<SqlResult[]> {
  const values = COLUMNS.map(name =>
    listings.map(one => (name === 'images' ? JSON.stringify(one[name] ?? null) : (one[name] ?? null))),
  )
  const { rows: results } = await db.query<SqlResult>(
    `select (r.listing).id, concat_ws(' ', r.sqlstate, r.rule) as refused
     from app_public.create_listings($1, array(
       select row(i.key, i.title, i.module, i.price, i.currency, i.description, i.attributes,
         (select array_agg(e) from jsonb_array_elements_text(nullif(i.images, 'null')) as e), i.external_id)::app_public.new_listing
       from unnest($2::uuid[], $3::text[], $4::text[], $5::numeric[], $6::text[], $7::text[], $8::jsonb[], $9::jsonb[], $10::text[])
         with ordinality as i (key, title, module, price, currency, description, attributes, images, external_id, number)
       order by i.number)) as r
     order by r.index`,
    [dealerId, ...values],
  )
  return results.map(({ id, refused }) => ({ id, refused: refused === '' ? null : refused }))
}
