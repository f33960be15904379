/** The input and the result of a scenario. */
import type { Cluster } from './cluster.ts'
import type { Dataset } from './dataset.ts'
import type { Load } from './jobs.ts'
import type { Generator } from './load.ts'
import type { Progress } from './progress.ts'
import { type Figure, figure, ratio } from './statistics.ts'

export type Bench = {
  cluster: Cluster
  /** Each scenario uses a copy of it: `copyDataset`. */
  dataset: Dataset
  generator: Generator
  progress: Progress
  quick: boolean
  rounds: number
  /** Seconds of a round: `warmup` is not measured, `seconds` are. */
  warmup: number
  seconds: number
}

/** One line of a table: the name of the measurement, and its figures by column. */
export type Row = { name: string; figures: Record<string, Figure> }

export type Target = {
  name: string
  measured: Figure
  bound: number
  sense: 'at least' | 'at most'
  unit: Unit
}

export type Unit = '%' | 'x' | '/s' | 'ms' | 's' | 'MB' | 'bytes'

export type Table = {
  /** Headings of the columns by key, with their unit. */
  columns: Record<string, string>
  rows: Row[]
}

export type Result = { title: string; tables: Table[]; targets: Target[]; notes: string[] }

export type Scenario = (bench: Bench) => Promise<Result>

export const CONNECTIONS = 16
export const LOAD_COLUMNS = { rate: 'rate /s', p50: 'p50 ms', p99: 'p99 ms', cpu: 'generator CPU %' }

/**
 * Runs every side in every round. Each round starts with another side, so that changes of the machine and of the data affect
 * all sides alike. A side gets the seed of the round.
 */
export async function interleave<Name extends string, Value = Load>(
  { rounds, progress }: Pick<Bench, 'rounds' | 'progress'>,
  sides: Record<Name, (seed: number) => Promise<Value>>,
): Promise<Record<Name, Value[]>> {
  const names = Object.keys(sides) as Name[]
  const values = Object.fromEntries(names.map(name => [name, [] as Value[]])) as Record<Name, Value[]>
  progress.expect(rounds * names.length)
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < names.length; turn++) {
      const name = names[(round + turn) % names.length] as Name
      progress.step(`round ${round + 1} of ${rounds}: ${name}`)
      values[name].push(await sides[name](1_000 + round))
    }
  }
  return values
}

export function loadRow(name: string, loads: Load[]): Row {
  const figureOf = (pick: (load: Load) => number) => figure(loads.map(pick))
  const figures = {
    rate: figureOf(({ rate }) => rate),
    p50: figureOf(({ p50 }) => p50),
    p99: figureOf(({ p99 }) => p99),
    cpu: figureOf(({ cpu }) => cpu * 100),
  }
  return { name, figures }
}

/** The rate in per cent of the baseline's rate. */
export function rateShare(loads: Load[], baseline: Load[]): Figure {
  const shares = ratio(loads.map(rateOf), baseline.map(rateOf))
  return figure(shares.rounds.map(share => share * 100))
}

/** The rate as a multiple of the baseline's rate. */
export function rateTimes(loads: Load[], baseline: Load[]): Figure {
  return ratio(loads.map(rateOf), baseline.map(rateOf))
}

export const rateOf = ({ rate }: Load) => rate
export const p99Of = ({ p99 }: Load) => p99
export const p50Of = ({ p50 }: Load) => p50
