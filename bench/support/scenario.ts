/** The input and the result of a scenario. */
import type { Cluster } from './cluster.ts'
import type { Dataset } from './dataset.ts'
import type { Load, Warmup } from './jobs.ts'
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
  /** Before each round, not measured. */
  warmup: Warmup
  /** The measured seconds of a round. */
  seconds: number
  /** The hash of the commit to compare with. */
  against: string | undefined
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
/** The CPU time is that for each operation: it differs least from machine to machine. */
export const LOAD_COLUMNS = {
  rate: 'rate /s',
  p50: 'p50 ms',
  p99: 'p99 ms',
  api: 'API CPU ms',
  postgres: 'Postgres CPU ms',
  generator: 'generator CPU ms',
}

/** For measurements that no target needs, or whose sides differ by much more than their rounds. */
export function withFewerRounds(bench: Bench, most = 3): Bench {
  return { ...bench, rounds: Math.min(bench.rounds, most) }
}

/** Runs every side in every round, in an order that favours no side. A side gets the seed of the round. */
export async function interleave<Name extends string, Value = Load>(
  { rounds, progress }: Pick<Bench, 'rounds' | 'progress'>,
  sides: Record<Name, (seed: number) => Promise<Value>>,
): Promise<Record<Name, Value[]>> {
  const names = Object.keys(sides) as Name[]
  const values = Object.fromEntries(names.map(name => [name, [] as Value[]])) as Record<Name, Value[]>
  progress.expect(rounds * names.length)
  for (const [round, order] of ordersOf(names, rounds).entries()) {
    for (const name of order) {
      progress.step(`round ${round + 1} of ${rounds}: ${name}`)
      values[name].push(await sides[name](1_000 + round))
    }
  }
  return values
}

/**
 * An order of the sides for each round. A side leaves its mark on the next one: a full cache, dirty pages, a checkpoint. So
 * that every side follows every other one, each round takes the order whose neighbours have been neighbours least often.
 */
export function ordersOf<Name extends string>(names: Name[], rounds: number): Name[][] {
  const times = new Map<string, number>()
  const orders: Name[][] = []
  const neighbours = (order: Name[]) => {
    const before = orders.at(-1)?.at(-1)
    const all = before === undefined ? order : [before, ...order]
    return all.slice(1).map((name, index) => `${all[index]} ${name}`)
  }
  // squares, so that a pair that has occurred twice costs more than two that have occurred once
  const cost = (order: Name[]) =>
    neighbours(order).reduce((sum, pair) => sum + (times.get(pair) ?? 0) ** 2, 0)
  const possible = permutations(names)
  for (let round = 0; round < rounds; round++) {
    const order = possible.reduce((best, other) => (cost(other) < cost(best) ? other : best))
    for (const pair of neighbours(order)) times.set(pair, (times.get(pair) ?? 0) + 1)
    orders.push(order)
  }
  return orders
}

function permutations<Name>(names: Name[]): Name[][] {
  if (names.length < 2) return [names]
  return names.flatMap(first =>
    permutations(names.filter(name => name !== first)).map(rest => [first, ...rest]),
  )
}

export function loadRow(name: string, loads: Load[]): Row {
  const figures: Row['figures'] = {
    rate: figure(loads.map(rateOf)),
    p50: figure(loads.map(p50Of)),
    p99: figure(loads.map(p99Of)),
  }
  return { name, figures: { ...figures, ...cpuFigures(loads) } }
}

/** Without the parts that were not measured. */
export function cpuFigures(loads: Load[]): Row['figures'] {
  const parts = ['api', 'postgres', 'generator'] as const
  return Object.fromEntries(
    parts.flatMap(part => {
      const values = loads.flatMap(({ cpu }) => cpu[part] ?? [])
      return values.length === 0 ? [] : [[part, figure(values)]]
    }),
  )
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
