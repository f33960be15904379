/**
 * From the errors of a GraphQL result to the HTTP answer: each error is translated by the one table, the status is that
 * of the first error if no root field succeeded, and what nobody foresaw goes to the log under the request's id.
 */
import { type GrafastExecutionArgs, isSafeError } from 'grafast'
import { type ExecutionResult, GraphQLError, getOperationAST, Kind } from 'grafast/graphql'
import type { Result } from 'postgraphile/grafserv'
import { rootFields } from './documentLimits.ts'
import { type ConstraintMessages, databaseError, type Fault, fault, rootCause, toFault } from './errors.ts'
import { type Outcome, outcomeOf, refuseRequest } from './outcome.ts'
import { type ApiRequest, requestOf } from './request.ts'

/** An error of ours (status 500 and more), for the log. Parameters of statements are never part of it. */
export interface FaultReport {
  readonly requestId: string | undefined
  readonly operation: string | undefined
  readonly path: string
  readonly code: string
  readonly sqlstate?: string
  readonly constraint?: string | undefined
  readonly message: string
  readonly stack?: string | undefined
}

/** What the translation needs. */
export interface StatusOptions {
  readonly log: (report: FaultReport) => void
  readonly constraintMessages: ConstraintMessages
  /** "Did you mean" in errors about variables. */
  readonly hideSuggestions: boolean
}

type Execution = ExecutionResult | AsyncGenerator

/** Marks what went through the table, for `maskError`. */
const translated = new WeakSet<object>()

/** Last line: whatever came past the table (a fault before execution) says nothing about itself. */
export function maskError(error: GraphQLError): GraphQLError {
  if (translated.has(error)) return error
  const { code, message } = fault('internal_error')
  return new GraphQLError(message, { extensions: { code } })
}

/** Translates the errors of each result, and sets status and `Retry-After` of each answer. */
export function makeStatusPlugin(options: StatusOptions): GraphileConfig.Plugin {
  return {
    name: 'StatusPlugin',
    version: '1.0.0',
    grafast: {
      middleware: {
        async execute(next, { args }) {
          const request = requestOf(args.requestContext)
          const outcome = outcomeOf(request)
          outcome.operation = describeOperation(args)
          args.hideSuggestions = options.hideSuggestions
          const result = await settle<Execution>(next)
          if (!('errors' in result) || !result.errors) return result
          const isRefused = result.data === undefined && result.errors.every(isAboutRequest)
          if (isRefused) refuseRequest(request)
          const errors = isRefused
            ? result.errors.map(error => clientError(error, fault('invalid_input', { message: error.message })))
            : translate(result.errors, outcome, request, options)
          if (!isRefused && !someFieldSucceeded(result, args)) takeStatus(outcome, errors)
          return { ...result, errors }
        },
      },
    },
    grafserv: {
      middleware: {
        async processRequest(next, { requestDigest }) {
          const result = await next()
          return result && answer(result, requestOf(requestDigest.requestContext))
        },
      },
    },
  }
}
