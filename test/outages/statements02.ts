/**
 * The statements that the API and the worker of release 0.2 send, because its code is not in this build. They are written as
 * PostGraphile writes them: the function with its arguments in order, then the selected columns. The pipeline is that of 0.2.
 */
import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import { authenticator } from '../../src/database/authenticator.ts'
import { runInTransaction } from '../../src/database/pipeline.ts'
import { makePool } from '../../src/database/pool.ts'

const LISTING = ['id', 'dealer_id', 'status', 'title', 'module', 'price', 'currency', 'description']
  .concat('attributes', 'images', 'created_at', 'updated_at')
  .map(column => `__listings__."${column}"::text`)
  .join(', ')
const INVOICE = ['id', 'status', 'gross_total', 'paid_at']
  .map(column => `__invoices__."${column}"::text`)
  .join(', ')

const REQUIRED = '$1::"uuid", $2::"uuid", $3::"text", $4::"text", $5::"numeric", $6::"text"'

/** An argument in the middle that the client leaves out makes PostGraphile name those that follow. */
const OPTIONAL = {
  none: '',
  images: ', "images" := $7::"text"[]',
  all: ', $7::"text", $8::"jsonb", $9::"text"[]',
}
const OPTIONAL_VALUES = { none: [], images: [['https://a.example/1.jpg']] } as const

const create = (given: keyof typeof OPTIONAL) => `select ${LISTING}, __consumption__."source"::text,
  __consumption__."gross_amount"::text, (current_setting('forecourt.published', true))::text
from "app_public"."create_listing"(${REQUIRED}${OPTIONAL[given]}) as __listings__
left outer join lateral (
  select * from app_public.consumption_of_listing(__listings__.dealer_id, __listings__.id)
) as __consumption__ on true`

const SELLER = `left outer join lateral (
  select * from "app_public"."seller_of_listing"(__listings__."dealer_id")
) as __seller__ on true`
const LISTING_BY_ID = `select ${LISTING}, __seller__."company_name" from "app_public"."listings" as __listings__ ${SELLER}
where (__listings__."id" = $1::"uuid")`
const PAGE = `select ${LISTING}, __seller__."company_name" from "app_public"."listings" as __listings__ ${SELLER}
order by __listings__."created_at" desc, __listings__."dealer_id" asc, __listings__."id" asc limit 21`
const QUOTE = `select __quote__."source"::text, __quote__."net_amount"::text, __quote__."vat_rate"::text,
  __quote__."gross_amount"::text, __quote__."currency", __quote__."free_remaining"::text, __quote__."subscription_remaining"::text
from "app_public"."quote_listing"($1::"uuid") as __quote__`
const BUY = `select __checkouts__."dealer_id"::text, __checkouts__."invoice_id"::text, __checkouts__."expires_at"::text
from "app_public"."buy_package"($1::"uuid", $2::"uuid", $3::"uuid") as __checkouts__`
const INVOICE_BY_ID = `select ${INVOICE} from "app_public"."invoices" as __invoices__
where (__invoices__."dealer_id" = $1::"uuid") and (__invoices__."id" = $2::"uuid")`
const PAY = `select ${INVOICE} from "app_public"."pay_invoice"($1::"uuid") as __invoices__`

type Caller = { role: 'visitor' | 'dealer' | 'admin'; userId?: string }
type Member = { userId: string; dealerId: string }

export type Api02 = ReturnType<typeof makeApi02>

/** The requests of an API of 0.2. It keeps prepared statements, as the API does. */
export function makeApi02(databaseUrl: string) {
  const pool = makePool({
    config: authenticator({ databaseUrl }).config,
    name: 'forecourt api',
    size: 5,
    statementTimeoutMs: 10_000,
    onError: () => {},
  })
  const send = async ({ role, userId = '' }: Caller, text: string, values: unknown[], isQuery = true) => {
    const settings = {
      role: `forecourt_${role}`,
      'forecourt.user_id': userId,
      'forecourt.client_ip': '127.0.0.1',
      timezone: 'UTC',
      ...(isQuery ? { transaction_read_only: 'on' } : { synchronous_commit: 'off' }),
    }
    const { rows } = await runInTransaction(pool, settings, { text, values, arrayMode: true }, true)
    return rows as string[][]
  }
  const asDealer = ({ userId }: Member): Caller => ({ role: 'dealer', userId })
  return {
    /** Returns the id of the listing. */
    async createListing(
      member: Member,
      given: keyof typeof OPTIONAL = 'none',
      { idempotencyKey = randomUUID() as string, title = 'A car' } = {},
    ) {
      const values = [member.dealerId, idempotencyKey, title, 'auto', '9900', 'EUR']
      const optional = given === 'all' ? ['A text.', '{"doors":4}', []] : OPTIONAL_VALUES[given]
      const rows = await send(asDealer(member), create(given), [...values, ...optional], false)
      return rows[0]?.[0] as string
    },
    listing: (member: Member, id: string) => send(asDealer(member), LISTING_BY_ID, [id]),
    page: () => send({ role: 'visitor' }, PAGE, []),
    quoteListing: (member: Member) => send(asDealer(member), QUOTE, [member.dealerId]),
    /** Returns the id of the invoice. */
    async buyPackage(member: Member, packageId: string) {
      const caller = asDealer(member)
      const [bought] = await send(caller, BUY, [member.dealerId, packageId, randomUUID()], false)
      const [invoice] = await send(caller, INVOICE_BY_ID, [member.dealerId, bought?.[1]])
      return invoice?.[0] as string
    },
    payInvoice: (adminId: string, id: string) => send({ role: 'admin', userId: adminId }, PAY, [id], false),
    stop: () => pool.end(),
  }
}

/** A run of `expire_subscriptions` by a worker of 0.2. Returns how many are due, and how many it has expired. */
export async function runExpiry02(owner: pg.Pool): Promise<{ due: number; expired: number }> {
  const client = await owner.connect()
  const one = async (sql: string, values: unknown[] = []) => (await client.query(sql, values)).rows[0]
  try {
    const run = await one("select app_private.begin_job_run('expire_subscriptions', 'a worker of 0.2') as id")
    const plan = await one(
      'select p.due::integer, p.middle::text, p.until_at::text as until from app_private.plan_expiry() as p',
    )
    const found = await client.query(
      'select b.tids::text, b.last_end_at::text from app_private.find_due_batches($1, $2, 500, 32) as b',
      ['-infinity', plan.until],
    )
    let expired = 0
    for (const { tids } of found.rows) {
      const batch = 'select b.expired, b.is_publishing from app_private.run_expiry_batch($1, $2) as b'
      expired += (await one(batch, [run.id, tids])).expired
    }
    await client.query('select app_private.end_expiry($1)', [expired === plan.due])
    await client.query('select app_private.finish_job_run($1, $2)', [run.id, null])
    return { due: plan.due, expired }
  } finally {
    client.release()
  }
}
