/**
 * Reads what a publication has written in the statement that published it: the listings of a batch, the ledger rows, and what paid.
 *
 * PostGraphile reads the relations of a mutation's result in a second transaction, because a statement does not see the rows
 * that its own functions write. A volatile function that is called later in the same statement sees them. With it,
 * publishing a listing is one transaction instead of two.
 */
import { first, ObjectStep, type Step, sideEffect } from 'grafast'
import { PgSelectSingleStep, PgSelectStep, TYPES } from 'postgraphile/@dataplan/pg'
import { type SQL, sql } from 'postgraphile/pg-sql2'
import { wrapPlans } from 'postgraphile/utils'

type Resource = GraphileBuild.Build['pgResources'][string]

/** A row that another row's statement reads: its columns are expressions of that statement. */
class FreshRowStep extends PgSelectSingleStep<Resource> {
  declare readonly resource: Resource
  declare readonly pgCodec: Resource['codec']
  /** The row's alias in the statement. The check whether the row is null uses it too. */
  readonly alias: SQL

  constructor($parent: PgSelectSingleStep, resource: Resource, alias: SQL) {
    super($parent.getClassStep() as PgSelectStep<Resource>, $parent as Step)
    this.resource = resource
    this.pgCodec = resource.codec
    this.alias = alias
  }

  override get(name: string): ReturnType<PgSelectSingleStep<Resource>['get']> {
    const attribute = this.resource.codec.attributes[name]
    if (!attribute) throw new Error(`${this.resource.name} has no column ${name}`)
    return this.select(sql`${this.alias}.${sql.identifier(name)}`, attribute.codec, attribute.notNull)
  }

  override deduplicate(peers: PgSelectSingleStep<Resource>[]) {
    return super.deduplicate(peers).filter(peer => peer instanceof FreshRowStep && peer.alias === this.alias)
  }
}

/**
 * `createListing { listing { consumption } }` and `createListings { results { listing { consumption } } }` without a second
 * transaction. Elsewhere `consumption` is a join to the publication. `onPublished` gets the source of each new listing after its
 * transaction, whatever fields the client selects; a replay has none.
 */
export function makeFreshRowsPlugin(onPublished: (source: string) => void): GraphileConfig.Plugin {
  const report = ($payload: Step) => {
    reportPublished($payload, onPublished)
    return $payload
  }
  return wrapPlans(
    ({ pgResources = {} }) => ({
      Mutation: {
        createListing: plan => report(plan()),
        createListings: plan => report(plan()),
      },
      ListingResult: {
        listing(_plan, $result) {
          const resource = pgResources.listings
          if (!isFresh($result) || !resource) throw new Error('a result is no row of a statement')
          return new FreshRowStep($result, resource, sql`(${$result.getClassStep().alias}.listing)`)
        },
      },
      Listing: {
        consumption(plan, $listing) {
          const resource = pgResources.listing_consumptions
          if (!isFresh($listing) || !resource) return publicationOnly(plan())
          const statement = $listing.getClassStep()
          const row = $listing instanceof FreshRowStep ? $listing.alias : statement.alias
          const consumption = sql.identifier(Symbol('consumption'))
          statement.join({
            type: 'left',
            lateral: true,
            from: sql`app_public.consumption_of_listing(${row}.dealer_id, ${row}.id)`,
            alias: consumption,
            conditions: [],
          })
          return new FreshRowStep($listing, resource, consumption)
        },
      },
    }),
    { name: 'FreshRowsPlugin' },
  )
}

/** The SQL functions set it for this transaction: the sources of the new listings, separated by commas. */
const PUBLISHED = sql`current_setting('forecourt.published', true)`

function reportPublished($payload: Step, onPublished: (source: string) => void): void {
  const $result = $payload instanceof ObjectStep ? $payload.get('result') : undefined
  const $row = $result instanceof PgSelectStep ? $result.row(first($result)) : $result
  if (!isFresh($row)) throw new Error('a publication returns no row of a statement')
  // of the rows of a batch, only the first one has the setting: it is long
  const setting =
    $result === $row ? PUBLISHED : sql`case ${$row.getClassStep().alias}.index when 0 then ${PUBLISHED} end`
  sideEffect($row.select(setting, TYPES.text), sources => {
    for (const source of sources?.split(',') ?? []) if (source !== '') onPublished(source)
  })
}

/** A listing may have several ledger rows. Its last publication is the one that was not given back, if there is one. */
function publicationOnly<T>($consumption: T): T {
  if ($consumption instanceof PgSelectSingleStep) {
    const $rows = $consumption.getClassStep() as PgSelectStep<Resource>
    const row = $rows.alias
    $rows.where(sql`${row}.kind = 'publication' and not exists (
      select from app_public.listing_consumptions as later
      where later.dealer_id = ${row}.dealer_id and later.listing_id = ${row}.listing_id
        and later.kind = 'publication' and later.number > ${row}.number)`)
  }
  return $consumption
}

function isFresh($row: Step | undefined): $row is PgSelectSingleStep {
  return $row instanceof PgSelectSingleStep && $row.mode === 'mutation'
}
