/** The address that rate limits count a client by. */
import { ipKeyGenerator } from 'express-rate-limit'

/** An IPv4 address as it is; the /56 prefix of an IPv6 address, because a client owns the whole prefix. */
export function addressOf(request: { readonly ip?: string | undefined } | undefined): string {
  return request?.ip === undefined ? 'unknown' : ipKeyGenerator(request.ip)
}
