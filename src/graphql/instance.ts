/** Makes the PostGraphile instance, and mounts it on the app. */
import type { Server } from 'node:http'
import type { Express } from 'express'
import type { GraphQLSchema } from 'grafast/graphql'
import type pg from 'pg'
import { type PostGraphileInstance, postgraphile } from 'postgraphile'
import { grafserv } from 'postgraphile/grafserv/express/v4'
import type { ConstraintMessages } from '../request/errors.ts'

/** Builds the schema now: if the database is down, the start fails and not the first request. */
export async function makeGraphql(preset: GraphileConfig.Preset): Promise<PostGraphileInstance> {
  const instance = postgraphile(preset)
  await instance.getSchema()
  return instance
}

export async function installGraphql(
  app: Express,
  server: Server,
  instance: PostGraphileInstance,
): Promise<void> {
  await instance.createServ(grafserv).addTo(app, server)
}

/** The messages for violated constraints: comments on constraints and partial unique indexes that begin with `@field name`. */
export async function readConstraintMessages(pool: pg.Pool): Promise<ConstraintMessages> {
  const { rows } = await pool.query<{ name: string; comment: string }>(`
    select c.conname as name, obj_description(c.oid, 'pg_constraint') as comment
    from pg_constraint as c
    where c.connamespace = 'app_public'::regnamespace and obj_description(c.oid, 'pg_constraint') like '@field %'
    union all
    select c.relname, obj_description(c.oid, 'pg_class')
    from pg_class as c
    where c.relnamespace = 'app_public'::regnamespace and c.relkind = 'i' and obj_description(c.oid, 'pg_class') like '@field %'
  `)
  return new Map(
    rows.map(({ name, comment }) => {
      const [tag = '', ...message] = comment.split('\n')
      return [name, { field: tag.slice('@field '.length), message: message.join('\n') }]
    }),
  )
}

/** Root fields of the schema, as `Mutation.login`. */
export function rootFieldNames(schema: GraphQLSchema): Set<string> {
  const types = [schema.getQueryType(), schema.getMutationType()]
  return new Set(
    types.flatMap(type => Object.keys(type?.getFields() ?? {}).map(field => `${type?.name}.${field}`)),
  )
}
