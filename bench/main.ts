/** `npm run bench`: measures Forecourt and other implementations of the same work, on the same machine in the same run. */
import { endServersWithProcess } from '../scripts/support/databases.ts'
import { expiry } from './expiry.ts'
import { growth, LEAST_ROWS } from './growth.ts'
import { limits } from './limits.ts'
import { login } from './login.ts'
import { overload } from './overload.ts'
import { publish } from './publish.ts'
import { read } from './read.ts'
import { startup } from './startup.ts'
import { startCluster } from './support/cluster.ts'
import { makeDataset } from './support/dataset.ts'
import { fillLedger } from './support/history.ts'
import { startGenerator } from './support/load.ts'
import { makeProgress } from './support/progress.ts'
import { describeRun, renderRun, writeRun } from './support/results.ts'
import type { Scenario } from './support/scenario.ts'
import type { Named } from './support/table.ts'

const scenarios: Record<string, Scenario> = {
  publish,
  read,
  login,
  limits,
  overload,
  expiry,
  growth,
  startup,
}
const USAGE = `Usage: npm run bench -- [--quick] [${Object.keys(scenarios).join('] [')}]`

const FULL = { rounds: 5, warmup: 1, seconds: 3 }
const QUICK = { rounds: 2, warmup: 0.2, seconds: 0.5 }

async function main(args: string[]): Promise<void> {
  const quick = args.includes('--quick')
  const chosen = args.filter(arg => arg !== '--quick')
  const unknown = chosen.find(name => scenarios[name] === undefined)
  if (unknown !== undefined) throw new Error(`There is no scenario ${unknown}. ${USAGE}`)
  const names = Object.keys(scenarios).filter(name => chosen.length === 0 || chosen.includes(name))
  const began = performance.now()
  const progress = makeProgress()
  progress.begin('postgres')
  const cluster = await startCluster(message => progress.step(message))
  const generator = startGenerator()
  progress.step('accounts, dealers, subscriptions')
  const dataset = await makeDataset(cluster)
  await fillLedger(dataset, LEAST_ROWS, progress)
  const results: Named[] = []
  for (const name of names) {
    progress.begin(name)
    const from = performance.now()
    const bench = { cluster, dataset, generator, progress, quick, ...(quick ? QUICK : FULL) }
    const result = await (scenarios[name] as Scenario)(bench)
    results.push({ name, seconds: (performance.now() - from) / 1000, ...result })
  }
  progress.clear()
  await generator.stop()
  await cluster.stop()
  const seconds = (performance.now() - began) / 1000
  const run = describeRun({ postgres: cluster.version, mode: quick ? 'quick' : 'full', seconds, results })
  process.stdout.write(`\n${renderRun(run)}\n\n`)
  const files = writeRun(run, !quick && names.length === Object.keys(scenarios).length)
  process.stdout.write(`Written: ${files.join(', ')}\n`)
}

endServersWithProcess()
try {
  await main(process.argv.slice(2))
  process.exit(0)
} catch (error) {
  process.stderr.write(`\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exit(1)
}
