/** Two API processes on one database, compared with one. */
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
import { startApi } from './support/servers.ts'
import { httpSide, sendFirstRequests } from './support/sides.ts'

export async function processes(bench: Bench): Promise<Result> {
  const { cluster } = bench
  const { database, dealers } = await copyDataset(cluster, bench.dataset)
  const requests = publishing(dealers)
  const first = await startApi(cluster, database)
  const second = await startApi(cluster, database)
  try {
    await switchLimits(database, 'enforce')
    await sendFirstRequests(bench, [first, second], requests)
    const { one, two } = await interleave(withFewerRounds(bench), {
      one: httpSide(bench, first, requests),
      two: httpSide(bench, [first, second], requests),
    })
    return {
      title: 'createListing over one and over two API processes, 16 connections, limits on',
      tables: [{ columns: LOAD_COLUMNS, rows: [loadRow('one process', one), loadRow('two processes', two)] }],
      targets: [],
      notes: ['The limits count over both processes. Postgres and the generator use the same cores.'],
    }
  } finally {
    await first.stop()
    await second.stop()
    await database.drop()
  }
}
