/** Limits the page of every connection, nested ones too: 20 rows by default, 100 at most. */
import { constant, type FieldArgs, lambda, type Step } from 'grafast'
import { pageRows } from '../request/documentRows.ts'
import { ApiError } from '../request/errors.ts'

/** The plan of a collection. */
interface Pageable extends Step {
  setFirst(rows: Step<number | undefined>): void
  setLast(rows: Step<number | undefined>): void
}

interface PageArguments {
  readonly first?: number | null
  readonly last?: number | null
  readonly before?: string | null
  readonly after?: string | null
}

/**
 * Replaces PostGraphile's `first` and `last` of all collections: the plan of the field reads, checks and applies them. Removes
 * `offset`, because the database would read all rows that it skips. With `after` it does not.
 */
export const PageLimitPlugin: GraphileConfig.Plugin = {
  name: 'PageLimitPlugin',
  version: '1.0.0',
  after: ['PgFirstLastBeforeAfterArgsPlugin'],
  schema: {
    hooks: {
      GraphQLObjectType_fields_field_args(args, _build, { scope }) {
        if (!isCollection(scope)) return args
        const { offset: _, ...kept } = args
        for (const name of ['first', 'last']) {
          if (!kept[name]) continue
          const { applyPlan: __, ...arg } = kept[name]
          const description = `Only read the ${name} \`n\` rows: ${pageRows.default} by default, ${pageRows.maximum} at most.`
          kept[name] = { ...arg, description }
        }
        return kept
      },
      GraphQLObjectType_fields_field(field, _build, { scope }) {
        const { plan } = field
        if (!isCollection(scope) || !plan) return field
        return {
          ...field,
          plan($parent, args, info) {
            const $page = plan($parent, args, info) as Pageable
            applyLimit($page, args)
            return $page
          },
        }
      },
    },
  },
}

function isCollection(scope: {
  isPgFieldConnection?: boolean
  isPgFieldSimpleCollection?: boolean
}): boolean {
  return scope.isPgFieldConnection === true || scope.isPgFieldSimpleCollection === true
}

function applyLimit($page: Pageable, args: FieldArgs): void {
  const argument = (name: string): Step => args[`$${name}`] ?? constant(undefined)
  const $checked = lambda(
    [argument('first'), argument('last'), argument('before'), argument('after')] as const,
    ([first, last, before, after]) => checkPage({ first, last, before, after }),
  )
  $page.setFirst(lambda($checked, page => page.first, true))
  $page.setLast(lambda($checked, page => page.last, true))
}

/** The page to read: the first rows after a cursor, or the last rows before one. */
export function checkPage({ first, last, before, after }: PageArguments): { first?: number; last?: number } {
  checkRows('first', first)
  checkRows('last', last)
  const backwards = last != null || before != null
  if (backwards && first != null)
    throw refusal('first', '`first` goes with `after`, not with `last` or `before`.')
  if (backwards && after != null)
    throw refusal('after', '`after` goes with `first`, not with `last` or `before`.')
  return backwards ? { last: last ?? pageRows.default } : { first: first ?? pageRows.default }
}

function checkRows(field: 'first' | 'last', rows: number | null | undefined): void {
  if (rows == null || (rows >= 0 && rows <= pageRows.maximum)) return
  throw refusal(field, `\`${field}\` must be between 0 and ${pageRows.maximum}.`, {
    maximum: pageRows.maximum,
  })
}

function refusal(field: keyof PageArguments, message: string, facts = {}): ApiError {
  return new ApiError('invalid_input', message, { detail: { field, ...facts } })
}
