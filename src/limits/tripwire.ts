/** Refuses a limited field that the request was not charged for: a second check, inside the GraphQL server. */
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
                'This kind of request is not supported. Please send POST /graphql with JSON.',
              )
            }
          }
          return next()
        },
      },
    },
  }
}
