/** `npm run bench`: measures Forecourt and other implementations of the same work, on the same machine in the same run. */
import { parseArgs } from 'node:util'
import { endServersWithProcess } from '../scripts/support/databases.ts'
import { against } from './against.ts'
import { batch } from './batch.ts'
import { capacity } from './capacity.ts'
import { dealer } from './dealer.ts'
import { expiry, listingExpiry } from './expiry.ts'
import { growth } from './growth.ts'
import { ledger } from './ledger.ts'
import { limits } from './limits.ts'
import { login } from './login.ts'
import { overload } from './overload.ts'
import { processes } from './processes.ts'
import { publish } from './publish.ts'
import { read } from './read.ts'
import { startup } from './startup.ts'
import { storefront } from './storefront.ts'
import { startCluster } from './support/cluster.ts'
import { resolveCommit } from './support/commit.ts'
import { makeDataset } from './support/dataset.ts'
import { fillLedger, LEAST_ROWS } from './support/history.ts'
import { startGenerator } from './support/load.ts'
import { makeProgress } from './support/progress.ts'
import { describeOrigin, type Run, renderRun, saveRun, writeRun } from './support/results.ts'
import type { Scenario } from './support/scenario.ts'
import type { Named } from './support/table.ts'

const scenarios: Record<string, Scenario> = {
  publish,
  dealer,
  batch,
  processes,
  read,
  storefront,
  login,
  limits,
  overload,
  expiry,
  'listing-expiry': listingExpiry,
  growth,
  ledger,
  startup,
  capacity,
}
const USAGE = `Usage: npm run bench -- [--quick | --save] [--against COMMIT] [${Object.keys(scenarios).join('] [')}]`

const FULL = { rounds: 4, warmup: { window: 1, most: 8 }, seconds: 8 }
const QUICK = { rounds: 2, warmup: { window: 0.2, most: 0.6 }, seconds: 0.5 }

type Options = { quick: boolean; save: boolean; hash: string | undefined; names: string[] }

/** Without names, all scenarios run. Their figures are saved, except in a quick run. `against` needs --against COMMIT. */
function readOptions(args: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      save: { type: 'boolean', default: false },
      against: { type: 'string' },
    },
    allowPositionals: true,
  })
  const hash = values.against === undefined ? undefined : resolveCommit(values.against)
  if (hash !== undefined) scenarios.against = against
  const unknown = positionals.find(name => scenarios[name] === undefined)
  if (unknown !== undefined) throw new Error(`There is no scenario ${unknown}. ${USAGE}`)
  const names = Object.keys(scenarios).filter(name => positionals.length === 0 || positionals.includes(name))
  const { quick, save } = values
  if (quick && save)
    throw new Error(
      `--quick and --save exclude each other, because a quick run shows no speed. Leave one out. ${USAGE}`,
    )
  return { quick, save: save || (!quick && positionals.length === 0), hash, names }
}

async function main({ quick, save, hash, names }: Options): Promise<void> {
  const origin = describeOrigin()
  const progress = makeProgress()
  progress.begin('postgres')
  const cluster = await startCluster(message => progress.step(message))
  const generator = startGenerator()
  progress.step('accounts, dealers, subscriptions')
  const dataset = await makeDataset(cluster)
  await fillLedger(dataset, LEAST_ROWS, progress)
  const results: Named[] = []
  const run: Run = { ...origin, postgres: cluster.version, mode: quick ? 'quick' : 'full', results }
  let files: string[] = []
  for (const name of names) {
    progress.begin(name)
    const from = performance.now()
    const bench = { cluster, dataset, generator, progress, quick, against: hash, ...(quick ? QUICK : FULL) }
    const result = await (scenarios[name] as Scenario)(bench)
    results.push({ name, seconds: (performance.now() - from) / 1000, ...result })
    // a run that ends early loses only the scenario under way
    files = save ? saveRun(run) : writeRun(run)
  }
  progress.clear()
  await generator.stop()
  await cluster.stop()
  process.stdout.write(`\n${renderRun(run)}\n\nWritten: ${files.join(', ')}\n`)
}

endServersWithProcess()
try {
  await main(readOptions(process.argv.slice(2)))
  process.exit(0)
} catch (error) {
  process.stderr.write(`\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exit(1)
}
