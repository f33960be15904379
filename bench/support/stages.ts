/** Copies of the dataset with a ledger of a given size, each with its own API. */
import { copyDataset, type Dataset } from './dataset.ts'
import { fillLedger, LEAST_ROWS } from './history.ts'
import type { Bench } from './scenario.ts'
import { type Server, startApi } from './servers.ts'

export type Stage = { rows: number; dataset: Dataset; api: Server }

export async function startStage({ cluster, dataset, progress }: Bench, rows: number): Promise<Stage> {
  const copy = await copyDataset(cluster, dataset)
  if (rows > LEAST_ROWS) await fillLedger(copy, rows - LEAST_ROWS, progress)
  return { rows, dataset: copy, api: await startApi(cluster, copy.database) }
}

export async function endStage({ api, dataset }: Stage): Promise<void> {
  await api.stop()
  await dataset.database.drop()
}
