/**
 * The PostGraphile preset: which parts of the database the API shows, their names, and the role of a request.
 *
 * The API shows nothing unless a comment in the schema says so: `@behavior +query:resource:connection` on a table,
 * `@behavior +mutationField` on a function.
 */
import { PgSimplifyInflectionPreset } from '@graphile/simplify-inflection'
import type { Pool } from 'pg'
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber'
import type { Flush } from '../database/durability.ts'
import { operationOf } from '../request/document.ts'
import { documentLimits } from '../request/documentLimits.ts'
import type { ConstraintMessages, Fault } from '../request/errors.ts'
import { type Identity, isApiKey } from '../request/identity.ts'
import { requestOf } from '../request/request.ts'
import { DescriptionsPlugin } from './descriptions.ts'
import { makeDocumentsPlugin } from './documentReader.ts'
import { examples } from './examples.ts'
import { OrderingPlugin } from './ordering.ts'
import { PageLimitPlugin } from './pageLimit.ts'
import { makeService, setConnectionUse } from './pgService.ts'
import { GRAPHQL_PATH, RequestDigestPlugin } from './requestDigest.ts'
import { ScalarsPlugin } from './scalars.ts'
import { type FaultReport, makeStatusPlugin, maskError } from './statusPlugin.ts'
import { TotalCountPlugin } from './totalCount.ts'

type RuruClientConfig = NonNullable<NonNullable<GraphileConfig.Preset['ruru']>['clientConfig']>

export interface PresetOptions {
  /** The low-privilege login. It must be able to take each role of `pgSettings`, and the pool needs an error handler. */
  readonly pool: Pool
  /** Waits until commits are on the disk: `src/database/durability.ts`. */
  readonly flush: Flush
  /** Whether connections keep prepared statements. */
  readonly prepareStatements: boolean
  readonly log: (report: FaultReport) => void
  /** Called for each error that a client gets. */
  readonly onFault: (fault: Fault) => void
  readonly constraintMessages: ConstraintMessages
  /** Whether clients may read the schema. If not, errors suggest no names either. */
  readonly introspection: boolean
  /** Whether GraphiQL is served under `/`. */
  readonly graphiql: boolean
  /** Lookups, sessions and other parts of the schema that do not come from the database. */
  readonly plugins?: readonly GraphileConfig.Plugin[]
}

/** The preset of the API over the schema `app_public`. */
export function makePreset(options: PresetOptions): GraphileConfig.Preset {
  const { introspection, graphiql, log, onFault, constraintMessages } = options
  return {
    extends: [PostGraphileAmberPreset, PgSimplifyInflectionPreset],
    disablePlugins: [
      'NodePlugin',
      'PgMutationPayloadEdgePlugin',
      'QueryQueryPlugin',
      'MutationPayloadQueryPlugin',
      'SubscriptionPlugin',
      // without it, a part of the schema that cannot be built is an error at the start
      'SwallowErrorsPlugin',
    ],
    plugins: [
      NamesPlugin,
      OptInPlugin,
      ScalarsPlugin,
      PageLimitPlugin,
      OrderingPlugin,
      TotalCountPlugin,
      DescriptionsPlugin,
      RequestDigestPlugin,
      makeDocumentsPlugin({ introspection }),
      makeStatusPlugin({ log, onFault, constraintMessages, hideSuggestions: !introspection }),
      ...(options.plugins ?? []),
    ],
    pgServices: [makeService(options)],
    gather: { pgStrictFunctions: true },
    schema: { pgForbidSetofFunctionsToReturnNull: true },
    grafast: { context },
    // the type requires every property
    ruru: { clientConfig: { defaultQuery: examples } as RuruClientConfig },
    grafserv: {
      graphqlPath: GRAPHQL_PATH,
      graphiql,
      graphiqlOnGraphQLGET: false,
      graphiqlPath: '/',
      graphqlOverGET: true,
      websockets: false,
      watch: false,
      maxRequestLength: documentLimits.bytes,
      // `application/graphql` is not in the specification and has no variables
      allowedRequestContentTypes: ['application/json'],
      maskError,
    },
  }
}

/**
 * Hides what PostGraphile shows by default. The comments in the schema apply after this and override it.
 *
 * | shown | comment | behaviour |
 * | --- | --- | --- |
 * | all rows of a table | on the table | `@behavior +query:resource:connection` |
 * | a function as a query, a mutation, a field | on the function | `@behavior +queryField`, `+mutationField`, `+typeField` |
 * | the row that a foreign key points at | on the constraint | `@forwardBehavior +singularRelation:resource:single` |
 * | the one row that points here | on the constraint | `@backwardBehavior +singularRelation:resource:single` |
 * | the rows that point here | on the constraint | `@backwardBehavior +manyRelation:resource:connection` |
 */
const OptInPlugin: GraphileConfig.Plugin = {
  name: 'OptInPlugin',
  version: '1.0.0',
  schema: {
    entityBehavior: {
      pgResource: {
        inferred: {
          after: ['inferred'],
          provides: ['postInferred'],
          callback: behavior => [
            behavior,
            '-query:resource:connection',
            '-query:resource:list',
            '-query:resource:single',
            '-queryField',
            '-mutationField',
            '-typeField',
            '-resource:insert',
            '-resource:update',
            '-resource:delete',
          ],
        },
      },
      pgResourceUnique: {
        inferred: {
          after: ['inferred'],
          provides: ['postInferred'],
          callback: behavior => [behavior, '-query:resource:single'],
        },
      },
      pgCodecRelation: {
        inferred: {
          after: ['inferred'],
          provides: ['postInferred'],
          callback: behavior => [
            behavior,
            '-singularRelation:resource:single',
            '-manyRelation:resource:connection',
            '-manyRelation:resource:list',
          ],
        },
      },
    },
  },
}

/** `id` stays `id`, the values of an enum are UPPER_CASE, and `@connectionField` names the rows of a view. */
const NamesPlugin: GraphileConfig.Plugin = {
  name: 'NamesPlugin',
  version: '1.0.0',
  inflection: {
    replace: {
      _attributeName(previous, _options, details) {
        return previous?.({ ...details, skipRowId: true }) ?? details.attributeName
      },
      allRowsConnection(previous, _options, resource) {
        const name = resource.extensions?.tags?.connectionField
        return typeof name === 'string' ? name : (previous?.(resource) ?? resource.name)
      },
      enumValue(previous, _options, value, codec) {
        return (previous?.(value, codec) ?? value).toUpperCase()
      },
    },
  },
}

function context(requestContext: Partial<Grafast.RequestContext>, args: Grafast.ExecutionArgs) {
  const request = requestOf(requestContext)
  const isQuery = operationOf(args.document, args.operationName)?.type === 'query'
  const settings = pgSettings(request?.identity, request?.clientAddress, isQuery)
  if (request?.connectionUse !== undefined) setConnectionUse(settings, request.connectionUse)
  return { request, pgSettings: settings }
}

/**
 * The settings of a request's statements: role, user or API key, and client address. Each database call is a transaction with these settings.
 * A query cannot write, whichever functions it calls.
 */
export function pgSettings(
  identity: Identity | undefined,
  clientIp: string | undefined,
  isQuery: boolean,
): Record<string, string> {
  return {
    role: `forecourt_${identity?.role ?? 'visitor'}`,
    ...senderSettings(identity),
    'forecourt.client_ip': clientIp ?? '',
    timezone: 'UTC',
    ...(isQuery ? { transaction_read_only: 'on' } : null),
  }
}

function senderSettings(identity: Identity | undefined): Record<string, string> {
  if (identity === undefined || !isApiKey(identity)) {
    return { 'forecourt.user_id': identity?.userId ?? '' }
  }
  return {
    'forecourt.user_id': '',
    'forecourt.api_key_id': identity.apiKeyId,
    'forecourt.dealer_id': identity.dealerId,
  }
}
