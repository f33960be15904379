/** Which resource is full first with more cores: a queue model, fed with the costs that are measured here. */
import { availableParallelism } from 'node:os'
import { poolSizeFor, slotsFor } from '../src/configuration.ts'
import type { Database } from './support/cluster.ts'
import { copyDataset } from './support/dataset.ts'
import type { Load } from './support/jobs.ts'
import { publishing } from './support/operations.ts'
import { switchLimits } from './support/policies.ts'
import { type Bench, CONNECTIONS, type Result, type Row } from './support/scenario.ts'
import { startApi } from './support/servers.ts'
import { httpSide, sendFirstRequests } from './support/sides.ts'
import { type Costs, type Machine, type Simulated, simulate } from './support/simulation.ts'
import { figure } from './support/statistics.ts'

const SIZES = [2, 8, 32]
const COLUMNS = {
  rate: 'rate /s',
  p50: 'p50 ms',
  p99: 'p99 ms',
  coresBusy: 'cores busy %',
  threadsBusy: 'API threads busy %',
  flushBusy: 'flush busy %',
  wal: 'WAL MB/s',
}

/** The write-ahead log so far: flushes of clients and their duration, bytes, and the listings that it holds. */
const LOG = `
  select sum(io.fsyncs)::double precision as flushes, sum(io.fsync_time) as milliseconds,
    pg_current_wal_lsn() - '0/0'::pg_lsn as bytes, (select count(*) from app_public.listings)::double precision as listings
  from pg_stat_io as io where io.object = 'wal' and io.backend_type = 'client backend'`
type Log = { flushes: number; milliseconds: number; bytes: number; listings: number }

type Measured = { load: Load; flush: number; walBytes: number }

export async function capacity(bench: Bench): Promise<Result> {
  const { cluster, progress } = bench
  const { database, dealers } = await copyDataset(cluster, bench.dataset)
  await database.superuser.query(`alter database ${database.name} set track_wal_io_timing = on`)
  const api = await startApi(cluster, database)
  try {
    await switchLimits(database, 'enforce')
    await sendFirstRequests(bench, api, publishing(dealers))
    const before = await readLog(database)
    const load = await httpSide(bench, api, publishing(dealers))(1_000)
    const after = await readLog(database)
    const per = (what: 'milliseconds' | 'bytes', of: 'flushes' | 'listings') =>
      (after[what] - before[what]) / (after[of] - before[of])
    progress.expect(1)
    progress.step('simulation')
    return report(
      { load, flush: per('milliseconds', 'flushes'), walBytes: per('bytes', 'listings') },
      dealers.length,
    )
  } finally {
    await api.stop()
    await database.drop()
  }
}

async function readLog({ superuser }: Database): Promise<Log> {
  const { rows } = await superuser.query(LOG)
  return Object.fromEntries(Object.entries(rows[0]).map(([name, value]) => [name, Number(value)])) as Log
}

function report({ load, flush, walBytes }: Measured, dealers: number): Result {
  const { api, postgres, generator } = load.cpu
  const title = 'createListing on larger machines, limits on: measured costs in a queue model'
  if (api === undefined || postgres === undefined)
    return { title, tables: [], targets: [], notes: ['CPU time can only be measured on Linux.'] }
  const costs: Costs = { client: 0, api, postgres, flush }
  const machineOf = (cores: number): Machine => {
    const processes = Math.max(1, Math.round((cores * api) / (api + postgres)))
    const connections = poolSizeFor(cores)
    return {
      cores,
      processes,
      slots: slotsFor(connections),
      connections,
      clients: CONNECTIONS * (cores / 2),
      dealers,
    }
  }
  const row = (name: string, { coresBusy, threadsBusy, flushBusy, ...times }: Simulated): Row => {
    const busy = { coresBusy: coresBusy * 100, threadsBusy: threadsBusy * 100, flushBusy: flushBusy * 100 }
    const all = { ...times, ...busy, wal: (times.rate * walBytes) / 1_000_000 }
    return {
      name,
      figures: Object.fromEntries(Object.entries(all).map(([key, value]) => [key, figure([value])])),
    }
  }
  const here = { ...machineOf(availableParallelism()), processes: 1, clients: CONNECTIONS }
  const last = machineOf(SIZES.at(-1) ?? 2)
  const larger = SIZES.map(cores => {
    const machine = machineOf(cores)
    const { processes, clients } = machine
    return row(`${cores} cores, API processes: ${processes}, clients: ${clients}`, simulate(machine, costs))
  })
  const { rate, p50, p99 } = load
  const measured = { rate: figure([rate]), p50: figure([p50]), p99: figure([p99]) }
  const times = [api, postgres, generator, flush].map(value => value.toFixed(3))
  return {
    title,
    tables: [
      {
        columns: COLUMNS,
        rows: [
          { name: 'this machine, measured', figures: measured },
          row('this machine, simulated', simulate(here, { ...costs, client: generator })),
          ...larger,
          row(`${last.cores} cores, one dealer`, simulate({ ...last, dealers: 1 }, costs)),
        ],
      },
    ],
    targets: [],
    notes: [
      `CPU for each publication: API ${times[0]} ms, Postgres ${times[1]} ms, generator ${times[2]} ms. A flush takes ${times[3]} ms,`,
      `a publication writes ${Math.round(walBytes)} bytes of write-ahead log. Each process has the default POOL_SIZE.`,
      'Clients of the simulated machines run elsewhere. Waits inside Postgres other than dealer locks and flushes are not in the model.',
    ],
  }
}
