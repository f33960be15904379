/** Logins beside Argon2id alone, and failed logins of existing accounts beside those of unknown ones. */
import { copyDataset, PASSWORD } from './support/dataset.ts'
import type { Load, Times } from './support/jobs.ts'
import { loggingIn } from './support/operations.ts'
import {
  type Bench,
  CONNECTIONS,
  cpuFigures,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
  type Row,
  withFewerRounds,
} from './support/scenario.ts'
import { startApi } from './support/servers.ts'
import { httpSide } from './support/sides.ts'
import { figure } from './support/statistics.ts'

/** On a busy machine, 16 logins at once take more than the round of a quick run. */
const LEAST_SECONDS = 2

export async function login(given: Bench): Promise<Result> {
  const bench = { ...given, seconds: Math.max(given.seconds, LEAST_SECONDS) }
  const { cluster, generator, warmup, seconds } = bench
  const { database, dealers, passwordHash } = await copyDataset(cluster, bench.dataset)
  const api = await startApi(cluster, database)
  const strangers = dealers.map(dealer => ({ ...dealer, email: `unknown-${dealer.email}` }))
  const fail = (accounts: typeof dealers) =>
    httpSide(bench, api, loggingIn(accounts, 'wrong password'), { refusal: 'invalid_credentials' })
  const hash = { kind: 'password', hash: passwordHash, password: PASSWORD } as const
  try {
    const loads = {
      ...(await interleave(withFewerRounds(bench), {
        api: httpSide(bench, api, loggingIn(dealers, PASSWORD)),
        hash: seed => generator.run({ ...hash, connections: CONNECTIONS, warmup, seconds, seed }),
      })),
      ...(await interleave(withFewerRounds(bench, 2), { existing: fail(dealers), unknown: fail(strangers) })),
    }
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
        columns: LOAD_COLUMNS,
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
  return { name: `failed login, ${name}`, figures: { ...figures, ...cpuFigures(loads) } }
}
