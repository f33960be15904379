/** Logins beside Argon2id alone, and failed logins of existing accounts beside those of unknown ones. */
import { copyDataset, PASSWORD } from './support/dataset.ts'
import type { Load, Pace, Times } from './support/jobs.ts'
import { loggingIn } from './support/operations.ts'
import {
  type Bench,
  CONNECTIONS,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
  type Row,
} from './support/scenario.ts'
import { startApi } from './support/servers.ts'
import { figure } from './support/statistics.ts'

export async function login(bench: Bench): Promise<Result> {
  const { cluster, generator, warmup, seconds } = bench
  const { database, dealers, passwordHash } = await copyDataset(cluster, bench.dataset)
  const api = await startApi(cluster, database)
  const strangers = dealers.map(dealer => ({ ...dealer, email: `unknown-${dealer.email}` }))
  const fail = (accounts: typeof dealers, seed: number) =>
    generator.run({
      kind: 'http',
      url: api.url,
      requests: loggingIn(accounts, 'wrong password'),
      refusal: 'invalid_credentials',
      ...pace(seed),
    })
  const pace = (seed: number): Pace => ({ connections: CONNECTIONS, warmup, seconds, seed })
  try {
    const loads = await interleave(bench, {
      api: seed =>
        generator.run({ kind: 'http', url: api.url, requests: loggingIn(dealers, PASSWORD), ...pace(seed) }),
      hash: seed =>
        generator.run({ kind: 'password', hash: passwordHash, password: PASSWORD, ...pace(seed) }),
      existing: seed => fail(dealers, seed),
      unknown: seed => fail(strangers, seed),
    })
    return report(loads)
  } finally {
    await api.stop()
    await database.drop()
  }
}

type Side = 'api' | 'hash' | 'existing' | 'unknown'

function report({ api, hash, existing, unknown }: Record<Side, Load[]>): Result {
  return {
    title: 'login, 16 connections, beside Argon2id alone',
    tables: [
      { columns: LOAD_COLUMNS, rows: [loadRow('login', api), loadRow('the hash alone', hash)] },
      {
        columns: { rate: 'rate /s', p50: 'p50 ms', p99: 'p99 ms' },
        rows: [failedRow('existing account', existing), failedRow('unknown account', unknown)],
      },
    ],
    targets: [],
    notes: [
      'A login is meant to be slow: 19 MiB and two passes of Argon2id each, on four threads.',
      'Failed logins take the same work for both accounts: test/limits/accountWork.test.ts counts it.',
    ],
  }
}

/** Failed logins are refusals to the generator. */
function failedRow(name: string, loads: Load[]): Row {
  const of = (pick: (times: Times) => number) =>
    figure(loads.map(({ refused }) => (refused === undefined ? Number.NaN : pick(refused))))
  const figures = { rate: of(({ rate }) => rate), p50: of(({ p50 }) => p50), p99: of(({ p99 }) => p99) }
  return { name: `failed login, ${name}`, figures }
}
