/** The client's address in one canonical form, which limits, audit and log use. It is parsed once for each request. */
import { isIP, isIPv4, isIPv6, SocketAddress } from 'node:net'
import { ipKeyGenerator } from 'express-rate-limit'

/** `[2001:db8::1]:443` and `[2001:db8::1]`. */
const BRACKETED = /^\[([^\]]*)\](?::\d{1,5})?$/
/** `203.0.113.7:51234`. A bare IPv6 address has more than one colon. */
const WITH_PORT = /^([^:]+):\d{1,5}$/
const MAPPED = /^::ffff:(?=\d+\.)/

type Hops = {
  /** The address of the socket. */
  socket: string | undefined
  /** The header `X-Forwarded-For`: each proxy appends the address that it was called from. */
  forwardedFor: string | undefined
  /** Whether the proxy at this address is trusted; `hop` counts from the socket. */
  trusts: (address: string, hop: number) => boolean
}

/** The address without port, brackets and zone; an IPv4 address that is mapped into IPv6 as IPv4. Undefined for other text. */
export function canonicalAddress(text: string): string | undefined {
  const trimmed = text.trim()
  const bracketed = BRACKETED.exec(trimmed)?.[1]
  const bare = (bracketed ?? WITH_PORT.exec(trimmed)?.[1] ?? trimmed).replace(/%.*$/s, '')
  if (isIPv4(bare)) return bracketed === undefined ? bare : undefined
  if (!isIPv6(bare)) return undefined
  return new SocketAddress({ address: bare, family: 'ipv6' }).address.replace(MAPPED, '')
}

/** The address that called the outermost trusted proxy. If the header names no address there, the address of the socket. */
export function clientAddress({ socket = '', forwardedFor, trusts }: Hops): string | undefined {
  const own = canonicalAddress(socket)
  if (own === undefined || forwardedFor === undefined) return own
  let address = own
  for (const [hop, entry] of forwardedFor.split(',').reverse().entries()) {
    if (!trusts(address, hop)) return address
    const next = canonicalAddress(entry)
    if (next === undefined) return own
    address = next
  }
  return address
}

/** The address under which a client is counted: an IPv4 address, or the /56 of an IPv6 one, because a client owns a whole /56. */
export function addressOf(request: { readonly clientAddress?: string | undefined } | undefined): string {
  const address = request?.clientAddress
  if (address === undefined) return 'unknown'
  return isIP(address) === 6 ? ipKeyGenerator(address) : address
}
