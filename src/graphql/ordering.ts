/**
 * Orders rows so that the pages of a connection have each row exactly once, also where a column has nulls or equal values.
 *
 * @dataplan/pg 1.1.2 makes the condition of a cursor from the columns of the order. It loses rows in two cases:
 *
 * - It puts nulls on the wrong side of a cursor. So an order by a nullable column begins with whether the column is null, which
 *   is never null itself: `end_at is null, end_at`. The order of the rows is that of Postgres: nulls last if ascending, first if
 *   descending.
 * - It treats the first column of a unique key as unique, such as `dealer_id`. Here a column is unique only if it is the whole
 *   key. After any other column, the primary key decides between equal rows.
 */
import { type PgCodecWithAttributes, TYPES } from '@dataplan/pg'
import { sql } from 'pg-sql2'
import type { PgSelectQueryBuilder } from 'postgraphile/@dataplan/pg'

type Direction = 'ASC' | 'DESC'

/** Replaces the order that each value of an `orderBy` makes, such as `END_AT_ASC`. */
export const OrderingPlugin: GraphileConfig.Plugin = {
  name: 'OrderingPlugin',
  version: '1.0.0',
  after: ['PgOrderAllAttributesPlugin'],
  schema: {
    hooks: {
      GraphQLEnumType_values(values, build, { scope }) {
        if (!scope.isPgRowSortEnum || !scope.pgCodec?.attributes) return values
        const pgCodec = scope.pgCodec as PgCodecWithAttributes
        const uniques = build.pgTableResource(pgCodec)?.uniques ?? []
        for (const [attributeName, { notNull, codec }] of Object.entries(pgCodec.attributes)) {
          const isNullable = !notNull && !codec.notNull
          const isUnique =
            !isNullable &&
            uniques.some(({ attributes }) => attributes.length === 1 && attributes[0] === attributeName)
          for (const direction of ['ASC', 'DESC'] as const) {
            const variant = direction === 'ASC' ? 'asc' : 'desc'
            const value =
              values[build.inflection.orderByAttributeEnum({ codec: pgCodec, attributeName, variant })]
            if (!value) continue
            const apply = (query: PgSelectQueryBuilder) => {
              if (isNullable) orderByNull(query, attributeName, direction)
              query.orderBy({ attribute: attributeName, direction })
              if (isUnique) query.setOrderIsUnique()
            }
            value.extensions = { ...value.extensions, grafast: { ...value.extensions?.grafast, apply } }
          }
        }
        return values
      },
    },
  },
}

function orderByNull(query: PgSelectQueryBuilder, attributeName: string, direction: Direction): void {
  const fragment = sql`(${query.alias}.${sql.identifier(attributeName)} is null)`
  query.orderBy({ fragment, codec: TYPES.boolean, nullable: false, direction })
}
