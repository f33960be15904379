/** Reads the body of a GraphQL request before the slots and the limits, which need its document. */
import type { IncomingMessage } from 'node:http'
import express, { type Express } from 'express'
import { markInexact, mayHaveInexactNumbers } from '../request/exactNumbers.ts'
import { sendFault } from '../request/faultResponse.ts'

/** A longer body gets 413. */
const MAX_BYTES = 100_000

const MESSAGES = {
  400: 'The request body is not valid JSON. Please send an object with `query`.',
  413: 'The request body is too large. Please send less at once.',
  415: 'The encoding of the request body is not supported. Please send JSON in UTF-8.',
} as const

type Status = keyof typeof MESSAGES

/** The status to refuse the request with. */
const faults = new WeakMap<object, Status>()

export function installBody(app: Express): void {
  const readJson = express.json({ limit: MAX_BYTES, type: 'application/json', verify: keepSuspect })
  app.use('/graphql', (request, response, next) => {
    if (request.method !== 'POST') return next()
    readJson(request, response, (error?: unknown) => {
      // an unreadable request is charged like any other before it is refused
      if (error !== undefined) faults.set(request, statusOf(error))
      else {
        try {
          readAgain(request)
        } catch {
          faults.set(request, 400)
        }
      }
      next()
    })
  })
}

/** Bodies with numbers that `JSON.parse` may have changed. They are rare, and a reviver for every body would be slow. */
const suspects = new WeakMap<object, { body: Buffer; encoding: string }>()

/** The digits are ASCII in every encoding of JSON, with zero bytes between them in UTF-16 and UTF-32. */
function keepSuspect(request: IncomingMessage, _response: unknown, body: Buffer, encoding: string): void {
  const text = body.toString('latin1')
  const digits = encoding === 'utf-8' ? text : text.replaceAll('\0', '')
  if (mayHaveInexactNumbers(digits)) suspects.set(request, { body, encoding })
}

/** Parses a suspect body again and marks its inexact numbers. Throws for an encoding that TextDecoder lacks, such as UTF-32. */
function readAgain(request: { body?: unknown }): void {
  const suspect = suspects.get(request)
  if (suspect === undefined) return
  request.body = JSON.parse(new TextDecoder(suspect.encoding).decode(suspect.body), markInexact)
}

export function installBodyRefusal(app: Express): void {
  app.use('/graphql', (request, response, next) => {
    const status = faults.get(request)
    if (status === undefined) return next()
    sendFault(request, response, 'invalid_input', { status, message: MESSAGES[status] })
  })
}

/** The client's bytes cause every error here, even an error without a status, such as zlib's. */
function statusOf(error: unknown): Status {
  const { status } = Object(error) as { status?: unknown }
  return status === 413 || status === 415 ? status : 400
}
