/** Sets the client's address on each request, before anything counts, logs or records it. */
import type { Express } from 'express'
import { clientAddress } from '../request/address.ts'
import type {} from '../request/request.ts'

export function installClientAddress(app: Express): void {
  // express makes this function from the setting `trust proxy`
  const trusts = app.get('trust proxy fn') as (address: string, hop: number) => boolean
  app.use((request, _response, next) => {
    const forwarded = request.headers['x-forwarded-for']
    const address = clientAddress({
      socket: request.socket.remoteAddress,
      forwardedFor: typeof forwarded === 'string' ? forwarded : forwarded?.join(','),
      trusts,
    })
    if (address !== undefined) request.clientAddress = address
    next()
  })
}
