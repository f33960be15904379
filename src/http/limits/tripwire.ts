/**
 * The last wall of the limits, inside the GraphQL server: whatever way a request has come, a limited field is not executed
 * unless this very request was charged for it.
 */
import { getOperationAST } from 'grafast/graphql'
import { rootFields } from '../../graphql/documentLimits.ts'
import { ApiError } from '../../graphql/errors.ts'
import { requestOf } from '../../graphql/request.ts'
import { chargedTimes } from './limiter.ts'
import type { PolicySource } from './policies.ts'

export function makeTripwirePlugin(policies: PolicySource): GraphileConfig.Plugin {
  return {
    name: 'LimitsTripwirePlugin',
    version: '1.0.0',
    grafast: {
      middleware: {
        execute(next, { args }) {
          const operation = getOperationAST(args.document, args.operationName)
          const request = requestOf(args.requestContext)
          const { limitedFields } = policies.current()
          const type = operation?.operation === 'mutation' ? 'Mutation' : 'Query'
          const executed = [...(operation ? rootFields(args.document, operation).values() : [])]
          for (const { name } of executed) {
            const field = `${type}.${name}`
            if (!limitedFields.has(field)) continue
            const times = executed.filter(other => other.name === name).length
            if (request === undefined || chargedTimes(request, field) < times) {
              throw new ApiError(
                'internal_error',
                'This way of asking is not served. Please send POST /graphql with JSON.',
              )
            }
          }
          return next()
        },
      },
    },
  }
}
