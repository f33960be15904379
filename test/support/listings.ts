/** Listings in each status, made by the functions that the API calls, and the mutations that lead from one status to the next. */
import type pg from 'pg'
import type { ApiResponse, TestServer } from './apiServer.ts'
import { publish } from './testData.ts'

export const STATUSES = ['PENDING', 'ACTIVE', 'REJECTED', 'WITHDRAWN', 'SOLD', 'EXPIRED'] as const
export type Status = (typeof STATUSES)[number]

/** How a listing gets from PENDING to a status. `$1` is the listing. */
const APPROVE =
  'select app_private.approve_listing(l, clock_timestamp()) from app_public.listings as l where l.id = $1'
const PATHS: Record<Status, string[]> = {
  PENDING: [],
  ACTIVE: [APPROVE],
  REJECTED: [
    "select app_private.reject_listing(l, 'A test.', clock_timestamp()) from app_public.listings as l where l.id = $1",
  ],
  WITHDRAWN: ['select app_public.withdraw_listing($1)'],
  SOLD: [APPROVE, 'select app_public.mark_listing_sold($1)'],
  EXPIRED: [
    APPROVE,
    `update app_public.listings set status = 'expired', updated_at = now(), published_at = now() - interval '91 days',
       expires_at = now() - interval '1 day' where id = $1`,
  ],
}

/** Makes a listing in a status, as the owner of the database who acts for the user. */
export async function makeListing(
  owner: pg.Pool,
  { userId, dealerId }: { userId: string; dealerId: string },
  status: Status = 'PENDING',
): Promise<string> {
  const client = await owner.connect()
  try {
    await client.query('begin')
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    const id = await publish(client, dealerId)
    for (const sql of PATHS[status]) await client.query(sql, [id])
    await client.query('commit')
    return id
  } catch (error) {
    await client.query('rollback')
    throw error
  } finally {
    client.release()
  }
}

export type ListingRow = {
  id: string
  status: Status
  title: string
  price: string
  description: string | null
  externalId: string | null
  publishedAt: string | null
  expiresAt: string | null
  rejectionReason: string | null
  updatedAt: string
}

const FIELDS = 'id status title price description externalId publishedAt expiresAt rejectionReason updatedAt'

export type StepName =
  | 'updateListing'
  | 'withdrawListing'
  | 'markListingSold'
  | 'renewListing'
  | 'resubmitListing'
  | 'moderateListing'

/** Sends a mutation that takes a listing and returns it. */
export async function step(
  server: TestServer,
  token: string | undefined,
  name: StepName,
  input: Record<string, unknown>,
): Promise<{ response: ApiResponse<unknown>; listing: ListingRow | undefined }> {
  const type = `${name[0]?.toUpperCase()}${name.slice(1)}Input`
  const response = await server.call<Record<string, { listing: ListingRow } | null> | null>(
    `mutation ($input: ${type}!) { ${name}(input: $input) { listing { ${FIELDS} } } }`,
    { variables: { input }, ...(token === undefined ? {} : { token }) },
  )
  return { response, listing: response.data?.[name]?.listing }
}

/** What a client reads of a response: the status of the listing, or the code and the status that an error names. */
export function outcome({ response, listing }: Awaited<ReturnType<typeof step>>): string {
  const error = response.errors[0]
  if (error === undefined) return listing?.status ?? 'nothing'
  const { code, detail } = error.extensions as { code: string; detail?: { status?: string } }
  return [response.status, code, detail?.status].filter(Boolean).join(' ')
}
