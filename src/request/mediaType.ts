/** The media type of a response. Every response, refusals too, uses the one that the client asks for. */
import { LRUCache } from 'lru-cache'
import Negotiator from 'negotiator'

const GRAPHQL_RESPONSE = 'application/graphql-response+json; charset=utf-8'
const JSON_RESPONSE = 'application/json; charset=utf-8'

/** If a client accepts both equally, it gets the first. */
const OFFERED = [GRAPHQL_RESPONSE, JSON_RESPONSE]

/** Parsed headers. Clients send few different ones, and parsing one costs as much as the rest of a refusal. */
const known = new LRUCache<string, { type: string | undefined }>({ max: 500 })

/**
 * The media type of the response to a header `Accept`. Undefined if the client accepts none of ours. Malformed parts are
 * skipped, and a header with only malformed parts counts as absent.
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

/** The media type of a refusal. A client that accepts none of ours gets JSON. */
export function refusalType(accept: string | undefined): string {
  return acceptedType(accept) ?? JSON_RESPONSE
}
