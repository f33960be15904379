/**
 * Reads what a publication has written in the statement that published it: the ledger row, and what paid.
 *
 * PostGraphile reads the relations of a mutation's result in a second transaction, because a statement does not see the rows
 * that its own functions write. A volatile function that is called later in the same statement sees them. With it,
 * publishing a listing is one transaction instead of two.
 */
import { ObjectStep, type Step, sideEffect } from 'grafast'
import { PgSelectSingleStep, type PgSelectStep, TYPES } from 'postgraphile/@dataplan/pg'
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
 * `createListing { listing { consumption } }` without a second transaction. Elsewhere `consumption` is a join to the publication.
 * `onPublished` gets the source of each new listing after its transaction, whatever fields the client selects; a replay has none.
 */
export function makeFreshRowsPlugin(onPublished: (source: string) => void): GraphileConfig.Plugin {
  return wrapPlans(
    ({ pgResources = {} }) => ({
      Mutation: {
        createListing(plan) {
          const $payload = plan()
          const $listing = $payload instanceof ObjectStep ? $payload.get('result') : undefined
          if (!isFresh($listing)) throw new Error('createListing returns no row of a statement')
          // app_public.create_listing sets it for this transaction.
          const $source = $listing.select(sql`current_setting('forecourt.published', true)`, TYPES.text)
          sideEffect($source, source => {
            if (source) onPublished(source)
          })
          return $payload
        },
      },
      Listing: {
        consumption(plan, $listing) {
          const resource = pgResources.listing_consumptions
          if (!isFresh($listing) || !resource) return publicationOnly(plan())
          const statement = $listing.getClassStep()
          const consumption = sql.identifier(Symbol('consumption'))
          statement.join({
            type: 'left',
            lateral: true,
            from: sql`app_public.consumption_of_listing(${statement.alias}.dealer_id, ${statement.alias}.id)`,
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
