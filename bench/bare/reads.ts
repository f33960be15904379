/** Hand-written reads: one statement each, with the result in the shape of the API. */

export const PAGE_SIZE = 20

export type Read = {
  name: 'listing' | 'page' | 'quote'
  text: string
  values: (body: Record<string, string>) => unknown[]
  answer: (rows: Row[]) => unknown
}

export type Row = Record<string, string | number | null>

const LISTING = 'l.id, l.title, upper(l.status::text) as status, l.price, l.currency'

export function reads(pageSize: number): Read[] {
  return [
    {
      name: 'listing',
      text: `select ${LISTING} from app_public.listings as l where l.id = $1`,
      values: ({ id }) => [id],
      answer: ([row]) => ({ listing: row }),
    },
    {
      name: 'page',
      // one more row than the page, to see whether there is a next page
      text: `
        select ${LISTING}, d.id as dealer_id, d.company_name, d.country, upper(c.source::text) as source,
          c.net_amount, c.vat_rate, c.gross_amount, c.currency as paid_in
        from app_public.listings as l
        left join app_public.dealers as d on d.id = l.dealer_id
        left join app_public.listing_consumptions as c on c.dealer_id = l.dealer_id and c.listing_id = l.id
          and c.kind = 'publication'
        where l.dealer_id = $1
        order by l.created_at desc, l.id
        limit ${pageSize + 1}`,
      values: ({ dealerId }) => [dealerId],
      answer: rows => ({
        listings: {
          nodes: rows.slice(0, pageSize).map(nodeOf),
          pageInfo: { hasNextPage: rows.length > pageSize },
        },
      }),
    },
    {
      name: 'quote',
      text: 'select q.*, upper(q.source::text) as source_name from app_public.quote_listing($1) as q',
      values: ({ dealerId }) => [dealerId],
      answer: ([row]) => ({ quoteListing: row && quoteOf(row) }),
    },
  ]
}

function nodeOf(row: Row) {
  const { id, title, status, price, currency } = row
  const dealer = { id: row.dealer_id, companyName: row.company_name, country: row.country }
  const consumption = {
    source: row.source,
    netAmount: row.net_amount,
    vatRate: row.vat_rate,
    grossAmount: row.gross_amount,
    currency: row.paid_in,
  }
  return { id, title, status, price, currency, dealer, consumption }
}

function quoteOf(row: Row) {
  return {
    source: row.source_name,
    netAmount: row.net_amount,
    vatRate: row.vat_rate,
    grossAmount: row.gross_amount,
    currency: row.currency,
    freeRemaining: row.free_remaining,
    subscriptionRemaining: row.subscription_remaining,
  }
}
