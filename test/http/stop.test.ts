/** A stop under load: the server responds to every request that it has accepted. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import { createListing, startServer } from '../support/apiServer.ts'
import { cloneDatabase } from '../support/database.ts'
import { makeSeller } from '../support/seller.ts'
import { until } from '../support/waits.ts'

test('a stop under load loses no response: a client has received the id of every listing that was made', async () => {
  const database = await cloneDatabase()
  try {
    const server = await startServer(database, { POOL_SIZE: '3' })
    const { token, dealerId } = await makeSeller(database, server)
    const received: string[] = []
    const refused: number[] = []
    let isStopped = false
    const client = async () => {
      while (!isStopped) {
        try {
          const { status, data } = await createListing(server, token, dealerId)
          if (data?.createListing) received.push(data.createListing.listing.id)
          else refused.push(status)
        } catch {
          // the server refused the connection, or closed it before it accepted the request
          await sleep(1)
        }
      }
    }
    const clients = Array.from({ length: 24 }, client)
    await until('the clients have created listings', () => received.length > 50)
    await server.stop()
    isStopped = true
    await Promise.all(clients)
    const { rows } = await database.superuser.query<{ id: string }>('select id from app_public.listings')
    expect(received.toSorted()).toEqual(rows.map(({ id }) => id).toSorted())
    // a refusal for overload is a response as well
    expect(refused.filter(status => status !== 503)).toEqual([])
  } finally {
    await database.drop()
  }
})
