/** What our middleware leaves on a request of express. */
import type { Identity } from './tokens.ts'

declare global {
  namespace Express {
    interface Request {
      /** Given by a proxy in `X-Request-Id`, or made here; answered in the same header. */
      requestId?: string
      /** The verified user; absent for a visitor. */
      identity?: Identity
    }
  }
}
