/**
 * API keys: `fc_<prefix>_<secret>`. The prefix finds the key, and the hash of the secret proves it.
 *
 * A process keeps the answer of the database for less than a second, also that a prefix is unknown, so that a revoked key is refused in
 * time. One look-up is under way at a time, and the next one takes all prefixes that have come meanwhile. So a client that sends
 * random keys cannot overload the database.
 */
import { timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type pg from 'pg'
import type { Logger } from '../log.ts'
import type { ApiKeyIdentity } from '../request/identity.ts'
import { hashToken, newToken } from './secretTokens.ts'

const PREFIX_LENGTH = 12
/** Both parts may contain `_`, so their lengths tell them apart. */
const API_KEY = /^fc_([A-Za-z0-9_-]{12})_([A-Za-z0-9_-]{43})$/
/** From the start of the look-up. The rest of the second is for the look-up itself. */
const KEPT_MS = 800
const MAX_KEPT = 10_000
const MAX_PREFIXES = 1_000
const USE_INTERVAL_MS = 60_000

export type NewApiKey = { key: string; prefix: string; secretHash: Buffer }

export type ApiKeys = {
  /** The identity of a key; undefined if it is not valid. Rejects while the database cannot be read. */
  verify(key: string): Promise<ApiKeyIdentity | undefined>
  /** Records that the key is in use, at most once a minute. Neither waits nor throws. */
  recordUse(identity: ApiKeyIdentity): void
  /** Resolves when the uses are recorded. */
  stop(): Promise<void>
}

type Found = { secretHash: Buffer; identity: ApiKeyIdentity }
type Row = { prefix: string; secret_hash: Buffer; api_key_id: string; dealer_id: string }
/** `pool` connects as forecourt_authenticator. */
type Options = { pool: pg.Pool; log: Logger }

/** Makes a key. Only its prefix and the hash of its secret are stored. */
export function newApiKey(): NewApiKey {
  const prefix = newToken().slice(0, PREFIX_LENGTH)
  const secret = newToken()
  return { key: `fc_${prefix}_${secret}`, prefix, secretHash: hashToken(secret) }
}

/** Whether a credential is meant as an API key. An access token never begins like this. */
export const looksLikeApiKey = (credential: string): boolean => credential.startsWith('fc_')

export function makeApiKeys({ pool, log }: Options): ApiKeys {
  const find = makeLookUp(pool)
  const usedAt = new LRUCache<string, true>({ max: MAX_KEPT, ttl: USE_INTERVAL_MS })
  const recording = new Set<Promise<unknown>>()
  return {
    async verify(key) {
      const [, prefix, secret] = API_KEY.exec(key) ?? []
      if (prefix === undefined || secret === undefined) return undefined
      const found = await find(prefix)
      return found && timingSafeEqual(hashToken(secret), found.secretHash) ? found.identity : undefined
    },
    recordUse({ dealerId, apiKeyId }) {
      if (usedAt.has(apiKeyId)) return
      usedAt.set(apiKeyId, true)
      const use = pool
        .query('select app_public.record_api_key_use($1, $2)', [dealerId, apiKeyId])
        .catch((error: Error) => log.warn({ reason: error.message }, 'the use of an API key is not recorded'))
        .finally(() => recording.delete(use))
      recording.add(use)
    },
    async stop() {
      await Promise.all(recording)
    },
  }
}

/** Returns the look-up of a prefix. */
function makeLookUp(pool: pg.Pool): (prefix: string) => Promise<Found | undefined> {
  const kept = new LRUCache<string, { found: Found | undefined }>({ max: MAX_KEPT, ttl: KEPT_MS })
  const asked = new Map<string, Promise<Found | undefined>>()
  const waiting: { prefix: string; resolve(found: Found | undefined): void; reject(error: unknown): void }[] =
    []
  let isReading = false

  async function read(): Promise<void> {
    isReading = true
    while (waiting.length > 0) {
      const batch = waiting.splice(0, MAX_PREFIXES)
      const start = performance.now()
      try {
        const rows = await rowsOf(batch.map(({ prefix }) => prefix))
        for (const { prefix, resolve } of batch) {
          const found = rows.get(prefix)
          kept.set(prefix, { found }, { start })
          resolve(found)
        }
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    isReading = false
  }

  async function rowsOf(prefixes: string[]): Promise<Map<string, Found>> {
    const { rows } = await pool.query<Row>('select * from app_public.find_api_keys($1)', [prefixes])
    return new Map(
      rows.map(({ prefix, secret_hash: secretHash, api_key_id: apiKeyId, dealer_id: dealerId }) => [
        prefix,
        { secretHash, identity: Object.freeze({ apiKeyId, dealerId, role: 'dealer' }) },
      ]),
    )
  }

  return async prefix => {
    const known = kept.get(prefix)
    if (known !== undefined) return known.found
    let found = asked.get(prefix)
    if (found === undefined) {
      found = new Promise<Found | undefined>((resolve, reject) =>
        waiting.push({ prefix, resolve, reject }),
      ).finally(() => asked.delete(prefix))
      asked.set(prefix, found)
      if (!isReading) void read()
    }
    return found
  }
}
