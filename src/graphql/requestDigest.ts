/**
 * Gives grafserv each request as our middleware has read it. Limits and GraphQL must not read a request in two ways, and
 * grafserv's own parsers throw on headers that real clients send.
 */
import { SafeError } from 'grafast'
import type { RequestDigest } from 'postgraphile/grafserv'
import { acceptedType } from '../request/mediaType.ts'
import { searchOf } from '../request/parameters.ts'
import { type ApiRequest, requestOf } from '../request/request.ts'

export const GRAPHQL_PATH = '/graphql'

/** Stands for every media type that we do not offer. Grafserv responds to it with 406. */
const NOT_OFFERED = 'application/x-unknown'

export const RequestDigestPlugin: GraphileConfig.Plugin = {
  name: 'RequestDigestPlugin',
  version: '1.0.0',
  grafserv: {
    middleware: {
      processRequest(next, { requestDigest }) {
        const request = requestOf(requestDigest.requestContext)
        if (request && requestDigest.path === GRAPHQL_PATH) setDigest(requestDigest, request)
        return next()
      },
    },
  },
}

function setDigest(digest: RequestDigest, request: ApiRequest): void {
  const { headers } = digest
  headers.accept = acceptedType(request.headers.accept) ?? NOT_OFFERED
  const [mediaType = ''] = (request.headers['content-type'] ?? '').split(';')
  if (headers['content-type'] !== undefined) headers['content-type'] = mediaType.trim().toLowerCase()
  digest.getBody = () => ({ type: 'json', json: request.body as never })
  digest.getQueryParams = () => queryParameters(request)
}

function queryParameters(request: ApiRequest): Record<string, string> {
  const found: Record<string, string> = {}
  for (const [name, value] of Object.entries(searchOf(request))) {
    if (Array.isArray(value)) throw new SafeError(`The URL gives \`${name}\` twice.`, { statusCode: 400 })
    if (value !== undefined) found[name] = value
  }
  return found
}
