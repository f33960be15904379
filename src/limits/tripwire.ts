/** The last wall of the limits, inside the GraphQL server: refuses a limited field the request was not charged for. */
import { operationOf } from '../request/document.ts'
import { ApiError } from '../request/errors.ts'
import { requestOf } from '../request/request.ts'
import { chargedTimes } from './limiter.ts'
import type { PolicySource } from './policies.ts'

export function makeTripwirePlugin(policies: PolicySource): GraphileConfig.Plugin {
  return {
    name: 'LimitsTripwirePlugin',
    version: '1.0.0',
    grafast: {
      middleware: {
        execute(next, { args }) {
          const operation = operationOf(args.document, args.operationName)
          const request = requestOf(args.requestContext)
          const { limitedFields } = policies.current()
          for (const [field, times] of operation?.counts ?? []) {
            if (!limitedFields.has(field)) continue
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
