/** Runs the real API server on a test database, with an HTTP client for it. */
import { randomUUID } from 'node:crypto'
import { type Api, startApi } from '../../src/api.ts'
import { readConfiguration } from '../../src/configuration.ts'
import { makeTokens } from '../../src/identity/tokens.ts'
import { type Logger, makeLog } from '../../src/log.ts'
import type { WorkerState } from '../../src/metrics/worker.ts'
import { derivedKey } from '../../src/request/derivedKey.ts'
import type { Role } from '../../src/request/identity.ts'
import type { TestDatabase } from './database.ts'

export const jwtSecret = 'a secret of tests, long enough for anyone'

/** The key that the server signs access tokens with. */
export const tokenKey = derivedKey(jwtSecret, 'access token')

export type ApiResponse<Data> = {
  status: number
  headers: Headers
  /** The unparsed body. */
  text: string
  data: Data
  errors: {
    message: string
    path?: string[]
    extensions: { code: string; detail?: Record<string, unknown>; meta?: unknown; requestId?: string }
  }[]
}

export type CallOptions = {
  token?: string
  variables?: Record<string, unknown>
  accept?: string
  headers?: Record<string, string>
}

export type TestServer = Pick<Api, 'url' | 'stop'> & {
  /** Sends an operation. `Data` is the type of the expected data. */
  call<Data = Record<string, never>>(query: string, options?: CallOptions): Promise<ApiResponse<Data>>
  /** Of a session that nobody opened: a token is valid unless its session has ended. */
  tokenFor(userId: string, role?: Role): Promise<string>
}

export async function startServer(
  database: TestDatabase,
  env: Record<string, string> = {},
  log: Logger = makeLog('silent'),
  worker?: WorkerState,
): Promise<TestServer & Api> {
  const configuration = readConfiguration({
    PORT: '0',
    DATABASE_URL: database.ownerUrl,
    DEMO_DATA: '0',
    ...env,
  })
  const api = await startApi(configuration, {
    databaseUrl: database.ownerUrl,
    jwtSecret,
    log,
    ...(worker === undefined ? {} : { worker }),
  })
  return { ...api, ...clientOf(api.url) }
}

/** Makes a client for the server at this URL. It signs tokens with the secret of the tests. */
export function clientOf(url: string): Omit<TestServer, 'stop'> {
  const tokens = makeTokens(jwtSecret)
  return {
    url,
    call: (query, options = {}) => send(url, query, options),
    async tokenFor(userId, role = 'dealer') {
      return (await tokens.issue({ userId, sessionId: randomUUID(), role })).accessToken
    },
  }
}

async function send<Data>(url: string, query: string, options: CallOptions): Promise<ApiResponse<Data>> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: options.accept ?? 'application/graphql-response+json',
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...options.headers,
    },
    body: JSON.stringify({ query, variables: options.variables ?? {} }),
  })
  const text = await response.text()
  const { data, errors = [] } = JSON.parse(text) as Partial<ApiResponse<Data>>
  return { status: response.status, headers: response.headers, text, data: data as Data, errors }
}

export type Listing = {
  id: string
  status: string
  title: string
  consumption: { source: string; netAmount: string; vatRate: string; grossAmount: string; currency: string }
}

export const CREATE_LISTING = `mutation ($input: CreateListingInput!) {
  createListing(input: $input) {
    listing { id status title consumption { source netAmount vatRate grossAmount currency } }
  }
}`

/** Publishes a listing over HTTP. */
export function createListing(
  server: TestServer,
  token: string,
  dealerId: string,
  input: Record<string, unknown> = {},
) {
  return server.call<{ createListing: { listing: Listing } | null }>(CREATE_LISTING, {
    token,
    variables: {
      input: {
        dealerId,
        idempotencyKey: randomUUID(),
        title: 'A car',
        module: 'auto',
        price: '9900',
        currency: 'EUR',
        ...input,
      },
    },
  })
}
