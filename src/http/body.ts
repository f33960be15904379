/** Reads the body of a GraphQL request before the limits, which need its document. */
import express, { type Express } from 'express'

/** A longer body gets 413. */
const MAX_BYTES = 100_000

const errors = new WeakMap<object, Error>()

export function installBody(app: Express): void {
  const readJson = express.json({ limit: MAX_BYTES, type: 'application/json' })
  app.use('/graphql', (request, response, next) => {
    readJson(request, response, (error?: Error) => {
      // an unreadable request is charged like any other before it is refused
      if (error !== undefined) errors.set(request, error)
      next()
    })
  })
}

export function installBodyRefusal(app: Express): void {
  app.use('/graphql', (request, _response, next) => next(errors.get(request)))
}
