/** The recipes for Apollo Client and urql, run against the server: logins, codes of errors, expired tokens, refused requests. */
import { randomUUID } from 'node:crypto'
import type { ApolloClient } from '@apollo/client'
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { Client } from '@urql/core'
import { parse } from 'graphql'
import { makeTokens } from '../../src/identity/tokens.ts'
import { jwtSecret, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { register } from '../support/graphqlOperations.ts'
import { EXACT_COUNTING, onlyLimits } from '../support/limits.ts'
import { type Recipes, writeRecipes } from './recipes.ts'

type Tokens = { accessToken: string; refreshToken: string }
type Session = { keep(tokens: Tokens): void; accessToken(): string | undefined }
type Result = { data?: Record<string, unknown> | null | undefined; code?: string | undefined }
type Run = (document: string, variables?: Record<string, unknown>) => Promise<Result>

const PASSWORD = 'correct horse battery'
const LOGIN = `mutation Login($input: LoginInput!) {
  login(input: $input) { session { accessToken refreshToken user { id } } }
}`

let database: TestDatabase
let server: TestServer
let recipes: Recipes
let limit: (limits: Parameters<typeof onlyLimits>[1]) => Promise<void>
const sent = jest.spyOn(globalThis, 'fetch')

beforeAll(async () => {
  recipes = await writeRecipes()
  database = await cloneDatabase()
  server = await startServer(database, EXACT_COUNTING)
  limit = limits => onlyLimits({ database, servers: [server] }, limits)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
  recipes.remove()
})

const apps: Record<string, (session: Session, url: string) => Promise<Run>> = {
  async 'Apollo Client'(session, url) {
    const { makeApolloClient, codeOf } = await recipes.load<{
      makeApolloClient(url: string, session: Session): ApolloClient
      codeOf(error: unknown): string | undefined
    }>('apollo.ts')
    const client = makeApolloClient(url, session)
    return async (document, variables = {}) => {
      const isMutation = document.startsWith('mutation')
      const parsed = parse(document)
      const result = isMutation
        ? client.mutate({ mutation: parsed, variables, fetchPolicy: 'no-cache' })
        : client.query({ query: parsed, variables, fetchPolicy: 'no-cache' })
      return (result as Promise<Result>).catch(error => ({ code: codeOf(error) }))
    }
  },
  async urql(session, url) {
    const { makeUrqlClient, codeOf } = await recipes.load<{
      makeUrqlClient(url: string, session: Session): Client
      codeOf(error: unknown): string | undefined
    }>('urql.ts')
    const client = makeUrqlClient(url, session)
    return async (document, variables = {}) => {
      const { data, error } = document.startsWith('mutation')
        ? await client.mutation(document, variables)
        : await client.query(document, variables)
      return error === undefined ? { data } : { code: codeOf(error) }
    }
  },
}

describe.each(Object.keys(apps))('%s', name => {
  let session: Session
  let run: Run
  let email: string
  let tokens: Tokens & { user: { id: string } }

  beforeEach(async () => {
    await limit({})
    const url = `${server.url}/graphql`
    const { makeSession } = await recipes.load<{ makeSession(url: string): Session }>('session.ts')
    session = makeSession(url)
    run = (await apps[name]?.(session, url)) as Run
    email = `${randomUUID()}@example.com`
    const { data } = await register(server, { email, password: PASSWORD })
    tokens = data.register?.session as typeof tokens
    sent.mockClear()
  })

  const logIn = (password = PASSWORD) => run(LOGIN, { input: { email, password } })
  const expire = async (refreshToken: string) => {
    const identity = { userId: tokens.user.id, sessionId: randomUUID(), role: 'dealer' } as const
    session.keep({ ...(await makeTokens(jwtSecret, -1).issue(identity)), refreshToken })
  }
  const refreshes = () => sent.mock.calls.filter(([, init]) => String(init?.body).includes('refreshSession'))

  test('logs in, and sends the token from then on', async () => {
    const { data } = await logIn()
    session.keep((data as { login: { session: Tokens } }).login.session)
    expect(await run('query Me { currentUser { email } }')).toMatchObject({
      data: { currentUser: { email } },
    })
  })

  test('gets the code of a refusal', async () => {
    expect(await logIn('a wrong password')).toEqual({ code: 'invalid_credentials' })
    expect(await run('query Anonymous { invoices { totalCount } }')).toEqual({ code: 'unauthenticated' })
    expect(refreshes()).toEqual([])
  })

  test('refreshes an expired session once for all requests that run, and repeats them', async () => {
    await expire(tokens.refreshToken)
    const results = await Promise.all(
      Array.from({ length: 8 }, (_, n) => run(`query Me${n} { me${n}: currentUser { email } }`)),
    )
    expect(results.map(({ data }) => data)).toMatchObject(
      Array.from({ length: 8 }, (_, n) => ({ [`me${n}`]: { email } })),
    )
    expect(refreshes()).toHaveLength(1)
    expect(new Headers(refreshes()[0]?.[1]?.headers).has('authorization')).toBe(false)
  })

  test('asks for a login once the session has ended', async () => {
    await expire('not a refresh token')
    expect(await run('query Me { currentUser { email } }')).toEqual({ code: 'unauthenticated' })
    expect([session.accessToken(), refreshes().length]).toEqual([undefined, 1])
    expect(await logIn()).toMatchObject({ data: { login: {} } })
  })

  test('waits as long as a limit says, and repeats the request', async () => {
    await limit({ auth_login: { max: 1, window: 1 } })
    for (const _ of ['first', 'second']) expect(await logIn()).toMatchObject({ data: { login: {} } })
    const responses = await Promise.all(sent.mock.results.map(({ value }) => value as Promise<Response>))
    expect(responses.map(({ status }) => status).filter(status => status === 429)).not.toEqual([])
  })

  test('does not wait for minutes', async () => {
    await limit({ auth_login: { max: 1, window: 600 } })
    await logIn()
    expect(await logIn()).toEqual({ code: 'rate_limit_exceeded' })
  })
})
