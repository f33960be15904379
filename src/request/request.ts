/** The fields that our middleware sets on a request, for express and for GraphQL plans alike. */
import type { IncomingMessage, ServerResponse } from 'node:http'
// Declares `requestContext.node`.
import type {} from 'postgraphile/grafserv/express/v4'
import type { Identity } from './identity.ts'

type RequestFields = {
  /** The client's address in its canonical form, behind the proxies that are trusted. */
  clientAddress?: string
  /** Given by a proxy in `X-Request-Id`, or made here; answered in the same header. */
  requestId?: string
  /** The verified user; absent for a visitor. */
  identity?: Identity
}

/** The request as the GraphQL part sees it. */
export interface ApiRequest extends IncomingMessage, Readonly<RequestFields> {
  /** The body as JSON, where it was sent as such. */
  readonly body?: unknown
  /** The response of this request. */
  readonly res?: ServerResponse | undefined
}

declare global {
  namespace Express {
    interface Request extends RequestFields {}
  }
  namespace Grafast {
    interface Context {
      /** The HTTP request, for plans that are written in TypeScript. */
      request?: ApiRequest | undefined
    }
  }
}

/** The HTTP request of a GraphQL request; undefined where a schema is executed without a server. */
export function requestOf(context: Partial<Grafast.RequestContext> | undefined): ApiRequest | undefined {
  return context?.node?.req
}
