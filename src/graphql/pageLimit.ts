/** Limits the page of every connection, nested ones too: 20 rows by default, 100 at most, in at most 10 orders. */
import { ConnectionStep, constant, type ExecutionDetails, type FieldArgs, lambda, type Step } from 'grafast'
import { pageRows } from '../request/documentRows.ts'
import { ApiError } from '../request/errors.ts'

/** The plan of a collection. */
interface Pageable extends Step {
  setFirst(rows: Step<number | undefined>): void
  setLast(rows: Step<number | undefined>): void
}

/** The rows to read. One of the two is set. */
interface Page {
  readonly first?: number
  readonly last?: number
}

interface PageArguments {
  readonly first?: number | null
  readonly last?: number | null
  readonly before?: string | null
  readonly after?: string | null
  readonly orderBy?: readonly unknown[] | null
}

/** The condition of a cursor nests a level deeper for each order: with 5,000 orders, one request took 29 s of CPU. */
const MAX_ORDERS = 10

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
            const $rows = plan($parent, args, info) as Pageable
            const $page = readPage(args)
            if (!($rows instanceof ConnectionStep)) return limit($rows, $page)
            const $connection = new PageStep($rows.getSubplan())
            $connection.setPage($page)
            return $connection
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

/**
 * A page of a connection. A page without rows (`first: 0`) reads one row and does not return it, so that `hasNextPage` says
 * whether there are rows. PostGraphile would read nothing and say that there are none.
 */
class PageStep extends ConnectionStep<unknown> {
  #pageDependency = -1

  setPage($page: Step<Page>): void {
    this.#pageDependency = this.addUnaryDependency($page)
    limit(this, $page)
  }

  override execute(details: ExecutionDetails): ReturnType<ConnectionStep<unknown>['execute']> {
    const results = super.execute(details)
    const { first, last }: Page = details.values[this.#pageDependency]?.unaryValue() ?? {}
    if (first !== 0 && last !== 0) return results
    return results.map(async result => {
      const page = await result
      if (page === null || !('items' in page)) return page
      const isMore = Array.isArray(page.items) && page.items.length > 0
      return { ...page, items: [], hasNextPage: isMore && first === 0, hasPreviousPage: isMore && last === 0 }
    })
  }
}

function limit($rows: Pageable, $page: Step<Page>): Pageable {
  const atLeastOne = (rows: number | undefined) => (rows === 0 ? 1 : rows)
  $rows.setFirst(lambda($page, ({ first }) => atLeastOne(first), true))
  $rows.setLast(lambda($page, ({ last }) => atLeastOne(last), true))
  return $rows
}

function readPage(args: FieldArgs): Step<Page> {
  const argument = (name: string): Step => args[`$${name}`] ?? constant(undefined)
  return lambda(
    [
      argument('first'),
      argument('last'),
      argument('before'),
      argument('after'),
      argument('orderBy'),
    ] as const,
    ([first, last, before, after, orderBy]) => checkPage({ first, last, before, after, orderBy }),
  )
}

/** The page to read: the first rows after a cursor, or the last rows before one. */
export function checkPage({ first, last, before, after, orderBy }: PageArguments): Page {
  checkRows('first', first)
  checkRows('last', last)
  if (orderBy != null && orderBy.length > MAX_ORDERS)
    throw refusal('orderBy', `\`orderBy\` takes at most ${MAX_ORDERS} orders.`, { maximum: MAX_ORDERS })
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
