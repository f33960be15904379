/** The cost of rate limits: of a request that passes, of the counting function, and of a refusal. */
import { createHash } from 'node:crypto'
import type { Database } from './support/cluster.ts'
import { copyDataset, type Dataset } from './support/dataset.ts'
import type { Load } from './support/jobs.ts'
import { quoting } from './support/operations.ts'
import { withLimits } from './support/policies.ts'
import {
  type Bench,
  CONNECTIONS,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  p50Of,
  p99Of,
  type Result,
  type Row,
  rateShare,
  withFewerRounds,
} from './support/scenario.ts'
import { startApi } from './support/servers.ts'
import { httpSide, sendFirstRequests, sqlSide } from './support/sides.ts'
import { difference, figure, ratio } from './support/statistics.ts'

const KEYS = 10_000
/** One charge, in the statement that costs least. */
const TAKE_ONE = `select (taken).used, (taken).reset_at, (taken).retry_after
  from (select app_public.take_rate_limit($1, $2, $3, $4) as taken) as charge`
/** Refusals per round, to measure the write-ahead log that they write. */
const REFUSALS = 1_000
/** The least work of any limiter in Postgres. */
const UPSERT = `insert into bench_counters as c (key, current) values ($1, 1)
  on conflict (key) do update set current = c.current + 1 returning current`
const PLAIN = `create unlogged table bench_counters (key bytea primary key, current integer not null)
  with (fillfactor = 50)`
const UNREACHABLE_LIMIT = '1000000000'

export async function limits(bench: Bench): Promise<Result> {
  const dataset = await copyDataset(bench.cluster, bench.dataset)
  try {
    const requests = await measureRequests(bench, dataset)
    await dataset.database.superuser.query(PLAIN)
    const counting = await measureCounting(bench, dataset.database)
    const wal = await measureRefusals(bench, dataset.database)
    return report(requests, counting, wal)
  } finally {
    await dataset.database.drop()
  }
}

/** The same server, with its limits switched between the rounds, over one connection and over many. */
async function measureRequests(bench: Bench, { database, dealers }: Dataset) {
  const api = await startApi(bench.cluster, database)
  const requests = quoting(dealers)
  const send = (connections: number) => httpSide(bench, api, requests, { connections })
  const fewer = withFewerRounds(bench)
  try {
    await sendFirstRequests(bench, api, requests)
    const single = await interleave(withFewerRounds(bench, 2), {
      off: send(1),
      on: withLimits(database, send(1)),
    })
    const { offConcurrent, onConcurrent } = await interleave(fewer, {
      offConcurrent: send(CONNECTIONS),
      onConcurrent: withLimits(database, send(CONNECTIONS)),
    })
    return { ...single, offConcurrent, onConcurrent }
  } finally {
    await api.stop()
  }
}

async function measureCounting(bench: Bench, { superuserUrl: url }: Database): Promise<Counting> {
  const side = (text: string, values: string[][]) => sqlSide(bench, { url, text, values })
  const keys = Array.from({ length: KEYS }, (_, number) => keyOf(`key ${number}`))
  const charges = (all: string[]) => all.map(key => charge(key, UNREACHABLE_LIMIT))
  const plain = (all: string[]) => all.map(key => [`\\x${key}`])
  const hot = [keyOf('hot')]
  const fewer = withFewerRounds(bench)
  return {
    ...(await interleave(fewer, {
      hot: side(TAKE_ONE, charges(hot)),
      hotPlain: side(UPSERT, plain(hot)),
      refusal: side(TAKE_ONE, [charge(keyOf('refused'), '1')]),
    })),
    ...(await interleave(withFewerRounds(bench, 2), {
      many: side(TAKE_ONE, charges(keys)),
      manyPlain: side(UPSERT, plain(keys)),
    })),
  }
}

/** Bytes of write-ahead log for each refusal, counted for this connection only. */
async function measureRefusals({ rounds, progress }: Bench, { superuser }: Database): Promise<number[]> {
  const client = await superuser.connect()
  const written = async () => {
    await client.query('select pg_stat_force_next_flush()')
    const { rows } = await client.query<{ bytes: string }>(
      'select wal_bytes as bytes from pg_stat_get_backend_wal(pg_backend_pid())',
    )
    return Number(rows[0]?.bytes)
  }
  const bytes: number[] = []
  progress.expect(rounds)
  try {
    const values = charge(keyOf('attacked'), '1')
    await client.query(TAKE_ONE, values)
    for (let round = 0; round < rounds; round++) {
      progress.step(`round ${round + 1} of ${rounds}: bytes of a refusal`)
      const before = await written()
      for (let refusal = 0; refusal < REFUSALS; refusal++) {
        const { rows } = await client.query<{ used: number | null }>(TAKE_ONE, values)
        if (rows[0]?.used !== null) throw new Error('the charge was not refused')
      }
      bytes.push(((await written()) - before) / REFUSALS)
    }
  } finally {
    client.release()
  }
  return bytes
}

function keyOf(name: string): string {
  return createHash('sha256').update(name).digest('hex')
}

/** The parameters of one charge, as text. */
function charge(key: string, max: string): string[] {
  return [`\\x${key}`, max, '60', '1']
}

type Requests = Record<'off' | 'on' | 'offConcurrent' | 'onConcurrent', Load[]>
type Counting = Record<'hot' | 'hotPlain' | 'many' | 'manyPlain' | 'refusal', Load[]>

function report(requests: Requests, counting: Counting, wal: number[]): Result {
  const { off, on, offConcurrent, onConcurrent } = requests
  const { hot, hotPlain, many, manyPlain, refusal } = counting
  const added = (pick: (load: Load) => number, limited: Load[], unlimited: Load[]) =>
    difference(limited.map(pick), unlimited.map(pick))
  const addedRow = (name: string, limited: Load[], unlimited: Load[]): Row => {
    const rate = ratio(
      limited.map(({ rate }) => rate),
      unlimited.map(({ rate }) => rate),
    )
    const figures = { p50: added(p50Of, limited, unlimited), p99: added(p99Of, limited, unlimited), rate }
    return { name, figures }
  }
  return {
    title: 'quoteListing under a limit that passes, the counting function, refusals',
    tables: [
      {
        columns: LOAD_COLUMNS,
        rows: [
          loadRow('limits off, 1 connection', off),
          loadRow('limits on, 1 connection', on),
          loadRow('limits off, 16 connections', offConcurrent),
          loadRow('limits on, 16 connections', onConcurrent),
        ],
      },
      {
        columns: { p50: 'added p50 ms', p99: 'added p99 ms', rate: 'rate, x of limits off' },
        rows: [
          addedRow('added, 1 connection', on, off),
          addedRow('added, 16 connections', onConcurrent, offConcurrent),
        ],
      },
      {
        columns: LOAD_COLUMNS,
        rows: [
          loadRow('take_rate_limit, one hot key', hot),
          loadRow('plain UNLOGGED upsert, one hot key', hotPlain),
          loadRow('take_rate_limit, 10,000 keys', many),
          loadRow('plain UNLOGGED upsert, 10,000 keys', manyPlain),
          loadRow('take_rate_limit, refused', refusal),
        ],
      },
    ],
    targets: [
      {
        name: 'p50 added, 1 connection',
        measured: added(p50Of, on, off),
        bound: 1,
        sense: 'at most',
        unit: 'ms',
      },
      {
        name: 'function over upsert, hot key',
        measured: rateShare(hot, hotPlain),
        bound: 60,
        sense: 'at least',
        unit: '%',
      },
      {
        name: 'function over upsert, 10,000 keys',
        measured: rateShare(many, manyPlain),
        bound: 60,
        sense: 'at least',
        unit: '%',
      },
      { name: 'log written by a refusal', measured: figure(wal), bound: 0, sense: 'at most', unit: 'bytes' },
    ],
    notes: ['The same client sends function and upsert as prepared statements over 16 connections.'],
  }
}
