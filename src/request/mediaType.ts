/** The media type of a response. Every answer and every refusal uses the one that the client asks for. */
import { LRUCache } from 'lru-cache'
import Negotiator from 'negotiator'

const GRAPHQL_RESPONSE = 'application/graphql-response+json; charset=utf-8'
const JSON_RESPONSE = 'application/json; charset=utf-8'

/** In the order that decides where a client takes both alike. */
const OFFERED = [GRAPHQL_RESPONSE, JSON_RESPONSE]

/** Clients send few different headers; parsing one costs as much as the rest of a refusal. */
const known = new LRUCache<string, { type: string | undefined }>({ max: 500 })

/**
 * The media type to answer in, for a header `Accept`; undefined where the client takes none of ours. Malformed parts are
 * skipped; a header without any other part counts as absent.
 */
export function acceptedType(accept: string | undefined): string | undefined {
  if (accept === undefined) return GRAPHQL_RESPONSE
  const found = known.get(accept)
  if (found !== undefined) return found.type
  const negotiator = new Negotiator({ headers: { accept } })
  const type = negotiator.mediaTypes().length === 0 ? GRAPHQL_RESPONSE : negotiator.mediaTypes(OFFERED)[0]
  known.set(accept, { type })
  return type
}

/** The media type of a refusal, which is sent also to a client that takes none of ours. */
export function refusalType(accept: string | undefined): string {
  return acceptedType(accept) ?? JSON_RESPONSE
}
