/** The rate limits in force: the rows of `rate_limit_policies`, read again whenever a DBA changes one. */
import type pg from 'pg'
import { migrationDifference } from '../database/migrations.ts'
import type { Watch } from '../database/watch.ts'
import type { Logger } from '../log.ts'

export type Policy = Readonly<{
  scope: string
  subject: 'ip' | 'user' | 'user_or_ip' | 'account'
  /** Root fields that count, as `Mutation.login`. */
  fields: readonly string[]
  maxCount: number
  windowSeconds: number
  cost: number
  mode: 'enforce' | 'shadow' | 'off'
  fallback: 'local' | 'refuse'
}>

export type Policies = Readonly<{
  all: readonly Policy[]
  /** Fields of every policy that is not off. */
  limitedFields: ReadonlySet<string>
  loadedAt: number
}>

export type PolicySource = {
  current(): Policies
  /**
   * Policies may name these fields only from now on, unless the database gets migrations that this build does not know. Throws if a
   * policy in force names another field.
   */
  restrictTo(fields: ReadonlySet<string>): void
}

type Options = {
  pool: pg.Pool
  watch: Watch
  log: Logger
  onLoad: (policies: Policies) => void
  onFault: () => void
}

const SELECT = `
  select scope, subject, fields, max_count as "maxCount", window_seconds as "windowSeconds", cost, mode, fallback
  from app_public.rate_limit_policies order by scope`

/** Loads the policies and keeps them up to date. When they cannot be read, the last good ones stay in force. */
export async function watchPolicies(options: Options): Promise<PolicySource> {
  const { pool, log } = options
  let policies = await load(pool)
  let known: ReadonlySet<string> | undefined
  options.onLoad(policies)

  async function reload(): Promise<void> {
    try {
      const loaded = await load(pool)
      if (JSON.stringify(loaded.all) === JSON.stringify(policies.all)) return
      // during a deployment, newer migrations may bring limits for fields that this build does not have
      if (known !== undefined && !(await migrationDifference(pool)).isNewer) assertKnown(loaded, known)
      policies = loaded
      options.onLoad(loaded)
      log.info({ policies: loaded.all.length }, 'rate limits changed')
    } catch (error) {
      options.onFault()
      log.warn({ reason: reasonOf(error) }, 'rate limits could not be read; the last ones stay in force')
    }
  }

  await options.watch.add('rate_limit_policies', reload)
  return {
    current: () => policies,
    restrictTo(fields) {
      assertKnown(policies, fields)
      known = fields
    },
  }
}

/** A policy with a field that the schema does not have would silently limit nothing. */
function assertKnown(policies: Policies, known: ReadonlySet<string>): void {
  const unknown = policies.all.flatMap(({ fields }) => fields.filter(field => !known.has(field)))
  if (unknown.length > 0)
    throw new Error(
      `Rate limits name fields that the API does not have: ${unknown.join(', ')}. Please correct rate_limit_policies.`,
    )
}

/** The database refuses to delete a policy: a limit ends by its `mode`, which people can see. */
async function load(pool: pg.Pool): Promise<Policies> {
  const { rows: all } = await pool.query<Policy>(SELECT)
  const limitedFields = new Set(all.flatMap(({ mode, fields }) => (mode === 'off' ? [] : fields)))
  return { all, limitedFields, loadedAt: Date.now() }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
