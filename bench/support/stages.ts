/** Copies of the dataset with a ledger of a given size, each with its own API and with limits on. */
import { copyDataset, type Dataset } from './dataset.ts'
import { fillLedger, LEAST_ROWS } from './history.ts'
import { switchLimits } from './policies.ts'
import type { Bench } from './scenario.ts'
import { type Server, startApi } from './servers.ts'

export type Stage = { rows: number; dataset: Dataset; api: Server }

export async function startStage({ cluster, dataset, progress }: Bench, rows: number): Promise<Stage> {
  const copy = await copyDataset(cluster, dataset)
  if (rows > LEAST_ROWS) await fillLedger(copy, rows - LEAST_ROWS, progress)
  const api = await startApi(cluster, copy.database)
  await switchLimits(copy.database, 'enforce')
  return { rows, dataset: copy, api }
}

export async function endStage({ api, dataset }: Stage): Promise<void> {
  await api.stop()
  await dataset.database.drop()
}
