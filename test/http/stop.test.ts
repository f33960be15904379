/** A server that is stopped while it is busy: whatever it has accepted is answered. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import { createListing, startServer } from '../support/apiServer.ts'
import { cloneDatabase } from '../support/database.ts'
import { makeSeller } from '../support/seller.ts'
import { until } from '../support/waits.ts'

test('a stop in the middle of a crowd loses no answer: every listing that was made was told of', async () => {
  const database = await cloneDatabase()
  try {
    const server = await startServer(database, { POOL_SIZE: '3' })
    const { token, dealerId } = await makeSeller(database, server)
    const told: string[] = []
    const refused: number[] = []
    let isStopped = false
    const client = async () => {
      while (!isStopped) {
        try {
          const { status, data } = await createListing(server, token, dealerId)
          if (data?.createListing) told.push(data.createListing.listing.id)
          else refused.push(status)
        } catch {
          // no connection, or one that was closed before the request was taken
          await sleep(1)
        }
      }
    }
    const crowd = Array.from({ length: 24 }, client)
    await until('they are at it', () => told.length > 50)
    await server.stop()
    isStopped = true
    await Promise.all(crowd)
    const { rows } = await database.superuser.query<{ id: string }>('select id from app_public.listings')
    expect(told.toSorted()).toEqual(rows.map(({ id }) => id).toSorted())
    // overload is an answer, too
    expect(refused.filter(status => status !== 503)).toEqual([])
  } finally {
    await database.drop()
  }
})
