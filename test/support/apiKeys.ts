/** API keys as an owner makes them over HTTP. */
import type { TestServer } from './apiServer.ts'
import { mutate } from './members.ts'

/** `token` is the whole key, for the header. */
export type ApiKey = { id: string; prefix: string; token: string }

export async function makeApiKey(
  server: TestServer,
  ownerToken: string,
  dealerId: string,
  input: Record<string, unknown> = {},
): Promise<ApiKey> {
  const named = { dealerId, name: 'Stock', ...input }
  const { result, data, text } = await mutate(server, 'createApiKey', named, ownerToken)
  if (result === undefined) throw new Error(`no API key: ${text}`)
  const token = data.createApiKey?.secret as unknown
  return { id: String(result.id), prefix: String(result.prefix), token: String(token) }
}
