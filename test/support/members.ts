/** Members and invitations: the rows, the operations, and the token that a mail has. */
import type { ApiResponse, TestServer } from './apiServer.ts'
import type { TestDatabase } from './database.ts'
import { makeUser, single } from './testData.ts'

export type Role = 'owner' | 'staff'
export type Person = { userId: string; email: string; token: string }

/** What the tests select of each result. */
const RESULTS = {
  inviteMember: 'invitation { id email role expiresAt }',
  revokeInvitation: 'invitation { id email role expiresAt }',
  acceptInvitation: 'dealer { id myRole }',
  createApiKey: 'apiKey { id name prefix expiresAt revokedAt } secret',
  revokeApiKey: 'apiKey { id name prefix expiresAt revokedAt }',
  removeMember: 'dealer { id }',
  setMemberRole: 'member { role user { id } }',
  updateDealer: 'dealer { id companyName }',
  buyPackage: 'checkout { id }',
  cancelCheckout: 'checkout { id }',
  cancelSubscription: 'subscription { id }',
}
export type MemberMutation = keyof typeof RESULTS

type Row = Record<string, unknown>

/** Sends a mutation. `result` is the first field of its payload, `code` that of the first error. */
export async function mutate(server: TestServer, name: MemberMutation, input: Row, token?: string) {
  const type = `${name[0]?.toUpperCase()}${name.slice(1)}Input`
  const response = await server.call<Record<string, Record<string, Row> | null>>(
    `mutation ($input: ${type}!) { ${name}(input: $input) { ${RESULTS[name]} } }`,
    { variables: { input }, ...(token === undefined ? {} : { token }) },
  )
  const result = Object.values(response.data?.[name] ?? {})[0]
  return { ...response, result, outcome: outcomeOf(response) }
}

export function outcomeOf({ status, errors }: ApiResponse<unknown>): string {
  return errors[0] === undefined ? String(status) : `${status} ${errors[0].extensions.code}`
}

export async function makePerson(database: TestDatabase, server: TestServer): Promise<Person> {
  const userId = await makeUser(database.owner)
  const email = await single(database.owner, 'select email from app_public.users where id = $1', [userId])
  return { userId, email, token: await server.tokenFor(userId) }
}

export async function makeMember(
  database: TestDatabase,
  server: TestServer,
  dealerId: string,
  role: Role,
): Promise<Person> {
  const person = await makePerson(database, server)
  await database.owner.query('insert into app_public.dealer_users values ($1, $2, $3)', [
    dealerId,
    person.userId,
    role,
  ])
  return person
}

/** The roles of the dealer's members by user. */
export async function rolesOf(database: TestDatabase, dealerId: string): Promise<Record<string, string>> {
  const { rows } = await database.owner.query<{ user_id: string; role: string }>(
    'select user_id, role from app_public.dealer_users where dealer_id = $1',
    [dealerId],
  )
  return Object.fromEntries(rows.map(({ user_id, role }) => [user_id, role]))
}
