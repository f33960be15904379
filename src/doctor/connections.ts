/** Whether the server has a connection for each slot of every pool. */
import { CONNECTIONS } from '../database/pool.ts'
import type { Check } from './finding.ts'

export const connections: Check = {
  name: 'connections: enough for every pool',
  async run({ client, poolSize, instances }) {
    // reserved_connections exists since Postgres 16
    const { rows } = await client.query<{ room: number }>(`
      select (sum(case name when 'max_connections' then setting::integer else -setting::integer end))::integer as room
      from pg_settings
      where name in ('max_connections', 'superuser_reserved_connections', 'reserved_connections')`)
    const room = rows[0]?.room ?? 0
    const api =
      poolSize + CONNECTIONS.flush + CONNECTIONS.limiter + CONNECTIONS.listener + CONNECTIONS.metrics
    const needed = instances * api + CONNECTIONS.worker
    if (needed <= room) return []
    return [
      {
        verdict: 'WARN',
        finding: `${instances} API processes with POOL_SIZE ${poolSize} and a worker may open ${needed} connections, the server has ${room}`,
        remedy: 'lower POOL_SIZE, raise max_connections, or put a pooler in between (docs/operations.md)',
      },
    ]
  },
}
