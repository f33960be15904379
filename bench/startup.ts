/** The time from `npm start` to ready, and the memory of the processes. */
import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { newDirectory, removeWithProcess } from '../scripts/support/databases.ts'
import { outputFile } from './support/cluster.ts'
import { linkModules } from './support/commit.ts'
import { copyDataset } from './support/dataset.ts'
import { type Memory, memberOf, memoryOf } from './support/memory.ts'
import { publishing } from './support/operations.ts'
import { switchLimits } from './support/policies.ts'
import { type Running, startProcess } from './support/processes.ts'
import type { Bench, Result, Row, Target } from './support/scenario.ts'
import { startApi, startWorker } from './support/servers.ts'
import { httpSide, sendFirstRequests } from './support/sides.ts'
import { type Figure, figure } from './support/statistics.ts'

/** The parts of the project that `npm start` needs. */
const PARTS = ['src', 'tasks', 'migrations', 'package.json', '.npmrc', '.gmrc']
const IDLE_MS = { full: 5_000, quick: 1_000 }

type Sizes = Record<string, Memory | undefined>

export async function startup(bench: Bench): Promise<Result> {
  const { rounds, progress, quick } = bench
  const times: Record<'cold' | 'warm', number[]> = { cold: [], warm: [] }
  const sizes: Sizes = {}
  const starts = quick ? 1 : rounds
  progress.expect(2 * starts + 1)
  for (let round = 1; round <= starts; round++) {
    const project = copyProject()
    for (const kind of ['cold', 'warm'] as const) {
      progress.step(`round ${round} of ${starts}: ${kind} start`)
      const running = await npmStart(bench, project)
      times[kind].push(running.readyMs / 1000)
      if (kind === 'warm' && round === starts) {
        await sleep(IDLE_MS[quick ? 'quick' : 'full'])
        sizes['npm start, idle, API and worker in one process'] = memoryOf(
          memberOf(running.pid, 'src/main.ts'),
        )
      }
      await running.stop()
    }
  }
  progress.step('memory, idle and under load')
  await measureProcesses(bench, sizes)
  return report(times, sizes)
}

/** A copy as after the installation, without `.data/` and compile cache. Those of the developer are not touched. */
function copyProject(): string {
  const directory = newDirectory('forecourt-start-')
  const project = join(directory, 'project')
  mkdirSync(project)
  for (const part of PARTS) cpSync(part, join(project, part), { recursive: true })
  linkModules(project)
  removeWithProcess(join(project, '.data'))
  return project
}

function npmStart({ cluster }: Bench, project: string): Promise<Running> {
  return startProcess({
    command: ['npm', 'start'],
    cwd: project,
    env: { PORT: '0' },
    ready: /Forecourt is ready/,
    output: outputFile(cluster, 'npm-start'),
  })
}

/** API and worker as two processes, as in production. */
async function measureProcesses(bench: Bench, sizes: Sizes): Promise<void> {
  const { cluster, seconds, quick } = bench
  const { database, dealers } = await copyDataset(cluster, bench.dataset)
  // the first start fills the compile cache
  for (const start of [startApi, startWorker]) await (await start(cluster, database)).stop()
  const api = await startApi(cluster, database)
  const worker = await startWorker(cluster, database)
  try {
    await sleep(IDLE_MS[quick ? 'quick' : 'full'])
    sizes['npm run api, idle'] = memoryOf(api.pid)
    sizes['npm run worker, idle'] = memoryOf(worker.pid)
    await switchLimits(database, 'enforce')
    await sendFirstRequests(bench, api, publishing(dealers))
    await httpSide(bench, api, publishing(dealers), { seconds: 3 * seconds })(1_000)
    sizes['npm run api, under load'] = memoryOf(api.pid)
  } finally {
    await worker.stop()
    await api.stop()
    await database.drop()
  }
}

function report(times: Record<'cold' | 'warm', number[]>, sizes: Sizes): Result {
  const memory = Object.entries(sizes).flatMap(([name, size]): Row[] => {
    if (size === undefined) return []
    const pss: Record<string, Figure> = size.pss === undefined ? {} : { pss: figure([size.pss]) }
    return [{ name, figures: { rss: figure([size.rss]), ...pss, peak: figure([size.peak]) } }]
  })
  const targets: Target[] = [
    { name: 'cold start to ready', measured: figure(times.cold), bound: 6, sense: 'at most', unit: 's' },
    { name: 'warm start to ready', measured: figure(times.warm), bound: 2.5, sense: 'at most', unit: 's' },
  ]
  const idle = sizes['npm start, idle, API and worker in one process']?.rss
  if (idle !== undefined) {
    const name = 'API and worker, idle'
    targets.push({ name, measured: figure([idle]), bound: 200, sense: 'at most', unit: 'MB' })
  }
  const loaded = sizes['npm run api, under load']?.rss
  if (loaded !== undefined) {
    const name = 'API under load, RSS'
    targets.push({ name, measured: figure([loaded]), bound: 300, sense: 'at most', unit: 'MB' })
  }
  return {
    title: 'npm start to ready, and memory',
    tables: [
      {
        columns: { seconds: 'seconds' },
        rows: [
          { name: 'cold: installed, never started', figures: { seconds: figure(times.cold) } },
          { name: 'warm: with data and compile cache', figures: { seconds: figure(times.warm) } },
        ],
      },
      { columns: { rss: 'RSS MB', pss: 'PSS MB', peak: 'peak RSS MB' }, rows: memory },
    ],
    targets,
    notes: ['Memory of Node only, without Postgres.'],
  }
}
