/** What earlier middleware leaves on the request, as the GraphQL part sees it. */
import type { IncomingMessage, ServerResponse } from 'node:http'
// Declares `requestContext.node`.
import type {} from 'postgraphile/grafserv/express/v4'
import type { Identity } from '../http/tokens.ts'

/** The request with its id and its verified identity. */
export interface ApiRequest extends IncomingMessage {
  readonly requestId?: string
  readonly identity?: Identity
  /** The address of the client, as express sees it behind the proxies it trusts. */
  readonly ip?: string | undefined
  /** Where the answer goes. */
  readonly res?: ServerResponse | undefined
}

declare global {
  namespace Grafast {
    interface Context {
      /** The HTTP request, for plans that are written in TypeScript. */
      request?: ApiRequest | undefined
    }
  }
}

/** The HTTP request of a GraphQL request; none where a schema is executed without a server. */
export function requestOf(context: Partial<Grafast.RequestContext> | undefined): ApiRequest | undefined {
  return context?.node?.req
}
