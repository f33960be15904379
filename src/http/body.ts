/** Reads the body of a GraphQL request before the slots and the limits, which need its document. */
import type { IncomingMessage } from 'node:http'
import express, { type Express } from 'express'
import { documentLimits, limitError } from '../request/documentLimits.ts'
import type { Detail } from '../request/errors.ts'
import { markInexact, mayHaveInexactNumbers } from '../request/exactNumbers.ts'
import { sendFault } from '../request/faultResponse.ts'

const tooLarge = limitError('bytes')

const REFUSALS = {
  unreadable: {
    status: 400,
    message: 'The request body is not valid JSON. Please send an object with `query`.',
  },
  tooLarge: { status: 400, message: tooLarge.message, detail: tooLarge.extensions.detail as Detail },
  unsupported: {
    status: 415,
    message: 'The encoding of the request body is not supported. Please send JSON in UTF-8.',
  },
} as const

type Refusal = keyof typeof REFUSALS

/** Why the request is refused. */
const refusals = new WeakMap<object, Refusal>()

export function installBody(app: Express): void {
  const readJson = express.json({
    limit: documentLimits.bytes,
    type: 'application/json',
    verify: keepSuspect,
  })
  app.use('/graphql', (request, response, next) => {
    if (request.method !== 'POST') return next()
    readJson(request, response, (error?: unknown) => {
      // an unreadable request is charged like any other before it is refused
      if (error !== undefined) refusals.set(request, refusalOf(error))
      else {
        try {
          readAgain(request)
        } catch {
          refusals.set(request, 'unreadable')
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
    const refusal = refusals.get(request)
    if (refusal === undefined) return next()
    sendFault(request, response, 'invalid_input', REFUSALS[refusal])
  })
}

/** The client's bytes cause every error here, even an error without a status, such as zlib's. */
function refusalOf(error: unknown): Refusal {
  const { status } = Object(error) as { status?: unknown }
  if (status === 413) return 'tooLarge'
  return status === 415 ? 'unsupported' : 'unreadable'
}
