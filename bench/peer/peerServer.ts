/** Serves the application tier with express and pg, and the same tokens. */
import express from 'express'
import { listen, makePool, requireToken } from '../support/express.ts'
import { publish, Refused } from './publish.ts'

const pool = makePool({ name: 'forecourt bench peer', as: 'owner' })
const peer = express()
peer.use(express.json())
peer.use(requireToken())
peer.post('/publish', async (request, response) => {
  try {
    const listing = await publish(pool, response.locals.identity.userId, request.body)
    response.json({ data: { createListing: { listing } } })
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    response.status(error.status).json({ errors: [{ code: error.code }] })
  }
})
listen(peer)
