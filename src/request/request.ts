/** The fields that our middleware sets on a request, for express and for GraphQL plans alike. */
import type { IncomingMessage, ServerResponse } from 'node:http'
// Declares `requestContext.node`.
import type {} from 'postgraphile/grafserv/express/v4'
import type { Identity } from './identity.ts'

/** `use`: the request takes a database connection. `free`: it has given the connection back. */
export type ConnectionUse = { use(): void; free(): void }

type RequestFields = {
  /** The client's address in its canonical form, as the trusted proxies report it. */
  clientAddress?: string
  /** From the proxy's `X-Request-Id`, or generated. The response has it in the same header. */
  requestId?: string
  /** The verified user or API key. Absent for a visitor. */
  identity?: Identity
  /** Tells the slots when the request uses a connection. A request that starts to run counts as using one. */
  connectionUse?: ConnectionUse
}

/** The request as the GraphQL part sees it. */
export interface ApiRequest extends IncomingMessage, Readonly<RequestFields> {
  /** The body, if it was sent as JSON. */
  readonly body?: unknown
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
