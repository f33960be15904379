/**
 * The databases of `npm run db:watch` and `npm run db:commit`: a server of their own in a temporary directory. They never
 * use `.data/` or `DATABASE_URL`, so no mistake in a migration can reach data that anybody needs.
 */
import { Logger } from 'graphile-migrate'
import { migrate } from '../../src/database/migrate.ts'
import { asClient, bare18 } from '../support/databases.ts'

export type WorkDatabases = {
  /** The database with the migration that is being written. */
  ownerUrl: string
  /** A second database of the same owner, for the same migration on a fresh start. */
  shadowUrl: string
  /** A superuser on the maintenance database, who may make and drop the others. */
  rootUrl: string
}

const SHADOW = 'forecourt_shadow'
/** A copy of the database with the committed migrations alone. */
const COMMITTED = 'forecourt_committed'

/** Errors are thrown as well, and explained by the command: graphile-migrate's own output has no use here. */
export const silent = new Logger(() => () => {})

/** Starts the server and applies the committed migrations. */
export async function startWorkDatabases(): Promise<WorkDatabases> {
  const { ownerUrl, superuserUrl } = await bare18()
  await migrate({ databaseUrl: ownerUrl, log: () => {} })
  const rootUrl = withDatabase(superuserUrl, 'postgres')
  await asClient(rootUrl, client =>
    client.query(`create database ${COMMITTED} template forecourt owner forecourt_owner`),
  )
  return { ownerUrl, shadowUrl: withDatabase(ownerUrl, SHADOW), rootUrl }
}

/** Replaces the shadow database by one with the committed migrations alone. */
export async function renewShadow({ rootUrl }: WorkDatabases): Promise<void> {
  await asClient(rootUrl, async client => {
    await client.query(`drop database if exists ${SHADOW}`)
    await client.query(`create database ${SHADOW} template ${COMMITTED} owner forecourt_owner`)
  })
}

function withDatabase(url: string, database: string): string {
  return Object.assign(new URL(url), { pathname: `/${database}` }).href
}
