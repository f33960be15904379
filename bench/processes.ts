/** One API process on a database, compared with two, and with other sizes of its pool. */
import { copyDataset } from './support/dataset.ts'
import { publishing } from './support/operations.ts'
import { switchLimits } from './support/policies.ts'
import {
  type Bench,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
  withFewerRounds,
} from './support/scenario.ts'
import { type Server, startApi } from './support/servers.ts'
import { httpSide, sendFirstRequests } from './support/sides.ts'

const POOL_SIZES = [3, 4, 6, 8, 10]

export async function processes(bench: Bench): Promise<Result> {
  const { cluster } = bench
  const { database, dealers } = await copyDataset(cluster, bench.dataset)
  const requests = publishing(dealers)
  const servers: Server[] = []
  const start = async (settings = {}) => {
    const server = await startApi(cluster, database, settings)
    servers.push(server)
    return server
  }
  try {
    const one = await start()
    const two = [one, await start()]
    const pools: Record<string, Server> = {}
    for (const size of POOL_SIZES) pools[`POOL_SIZE ${size}`] = await start({ POOL_SIZE: String(size) })
    await switchLimits(database, 'enforce')
    await sendFirstRequests(bench, servers, requests)
    const sides = Object.entries({ 'one process': one, 'two processes': two, ...pools }).map(
      ([name, side]) => [name, httpSide(bench, side, requests)] as const,
    )
    const loads = await interleave(withFewerRounds(bench), Object.fromEntries(sides))
    return {
      title: 'createListing over two API processes, and with other pools, 16 connections, limits on',
      tables: [
        {
          columns: LOAD_COLUMNS,
          rows: Object.entries(loads).map(([name, load]) => loadRow(name, load)),
        },
      ],
      targets: [],
      notes: [
        'The rows with a POOL_SIZE have one process. The other two rows have the default POOL_SIZE of this machine.',
        'All processes share the counters of the limits. Postgres and the generator use the same cores.',
      ],
    }
  } finally {
    for (const server of servers) await server.stop()
    await database.drop()
  }
}
