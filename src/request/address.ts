/** The address under which a client is counted. */
import { ipKeyGenerator } from 'express-rate-limit'

/** An IPv4 address as it is, and the /56 of an IPv6 one: a client owns that many. */
export function addressOf(request: { readonly ip?: string | undefined } | undefined): string {
  return request?.ip === undefined ? 'unknown' : ipKeyGenerator(request.ip)
}
