/** Logins, beside the hashing alone: Argon2id is what they are made of. */

import { copyDataset, PASSWORD } from './support/dataset.ts'
import type { Load, Pace } from './support/jobs.ts'
import { loggingIn } from './support/operations.ts'
import {
  type Bench,
  CONNECTIONS,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
} from './support/scenario.ts'
import { startApi } from './support/servers.ts'

export async function login(bench: Bench): Promise<Result> {
  const { cluster, generator, warmup, seconds } = bench
  const { database, dealers, passwordHash } = await copyDataset(cluster, bench.dataset)
  const api = await startApi(cluster, database)
  const pace = (seed: number): Pace => ({ connections: CONNECTIONS, warmup, seconds, seed })
  try {
    const loads = await interleave(bench, {
      api: seed =>
        generator.run({ kind: 'http', url: api.url, requests: loggingIn(dealers, PASSWORD), ...pace(seed) }),
      hash: seed =>
        generator.run({ kind: 'password', hash: passwordHash, password: PASSWORD, ...pace(seed) }),
    })
    return report(loads)
  } finally {
    await api.stop()
    await database.drop()
  }
}

function report({ api, hash }: Record<'api' | 'hash', Load[]>): Result {
  return {
    title: 'login, 16 connections, beside Argon2id alone',
    tables: [{ columns: LOAD_COLUMNS, rows: [loadRow('login', api), loadRow('the hash alone', hash)] }],
    targets: [],
    notes: ['A login is meant to be slow: 19 MiB and two passes of Argon2id each, on four threads.'],
  }
}
