/** What a scenario is given, and what it hands back. */
import type { Cluster } from './cluster.ts'
import type { Load } from './jobs.ts'
import type { Generator } from './load.ts'
import type { Progress } from './progress.ts'
import { type Figure, figure, ratio } from './statistics.ts'
import type { World } from './world.ts'

export type Bench = {
  cluster: Cluster
  /** What the databases of all scenarios begin with: `copyWorld`. */
  world: World
  generator: Generator
  progress: Progress
  quick: boolean
  rounds: number
  /** Of a round with one side: before its figures count, and while they count. */
  warmup: number
  seconds: number
}

/** One line of a table: what was measured, and its figures by column. */
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
  /** Heads of the columns by key, with the unit. */
  columns: Record<string, string>
  rows: Row[]
}

export type Result = { title: string; tables: Table[]; targets: Target[]; notes: string[] }

export type Scenario = (bench: Bench) => Promise<Result>

export const CONNECTIONS = 16
export const LOAD_COLUMNS = { rate: 'rate /s', p50: 'p50 ms', p99: 'p99 ms', cpu: 'generator CPU %' }

/**
 * Every side in every round, one after another, each round beginning with another side, so that whatever the machine
 * does meanwhile, and whatever grows, meets all alike. A side gets the round's seed.
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
  const of = (pick: (load: Load) => number) => figure(loads.map(pick))
  const figures = {
    rate: of(({ rate }) => rate),
    p50: of(({ p50 }) => p50),
    p99: of(({ p99 }) => p99),
    cpu: of(({ cpu }) => cpu * 100),
  }
  return { name, figures }
}

/** Per cent of the rate of the other. */
export function rateShare(ones: Load[], others: Load[]): Figure {
  const shares = ratio(ones.map(rateOf), others.map(rateOf))
  return figure(shares.rounds.map(share => share * 100))
}

/** How many times the rate of the other. */
export function rateTimes(ones: Load[], others: Load[]): Figure {
  return ratio(ones.map(rateOf), others.map(rateOf))
}

export const rateOf = ({ rate }: Load) => rate
export const p99Of = ({ p99 }: Load) => p99
export const p50Of = ({ p50 }: Load) => p50
