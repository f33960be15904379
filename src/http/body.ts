/** Reads the body of a GraphQL request, so that what it asks for is known before anything runs. */
import express, { type Express } from 'express'

/** Bytes; longer is 413. */
const MAXIMUM_BYTES = 100_000

const faults = new WeakMap<object, Error>()

export function installBody(app: Express): void {
  const readJson = express.json({ limit: MAXIMUM_BYTES, type: 'application/json' })
  app.use('/graphql', (request, response, next) => {
    readJson(request, response, (error?: Error) => {
      // an unreadable request is charged like any other, and refused after that
      if (error !== undefined) faults.set(request, error)
      next()
    })
  })
}

export function installBodyRefusal(app: Express): void {
  app.use('/graphql', (request, _response, next) => next(faults.get(request)))
}
