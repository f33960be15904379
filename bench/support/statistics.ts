/** The numbers of several rounds as one figure: median, minimum and maximum. */

export type Figure = { median: number; min: number; max: number; rounds: number[] }

export function figure(rounds: readonly number[]): Figure {
  if (rounds.length === 0) throw new Error('a figure needs a round')
  const sorted = [...rounds].sort((a, b) => a - b)
  const at = (index: number) => sorted[index] ?? Number.NaN
  const middle = (sorted.length - 1) / 2
  const median = (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2
  return { median, min: at(0), max: at(sorted.length - 1), rounds: rounds.map(rounded) }
}

/** Divides round by round, because a slow moment of the machine slows both sides. */
export function ratio(values: readonly number[], baseline: readonly number[]): Figure {
  return figure(values.map((value, round) => value / (baseline[round] ?? Number.NaN)))
}

export function difference(values: readonly number[], baseline: readonly number[]): Figure {
  return figure(values.map((value, round) => value - (baseline[round] ?? Number.NaN)))
}

/** True if the last two counts differ by less than 5 % of the larger one. */
export function isSteady(counts: readonly number[]): boolean {
  const [before, last] = counts.slice(-2)
  if (before === undefined || last === undefined) return false
  return Math.abs(last - before) < 0.05 * Math.max(last, before)
}

/** The percentile by nearest rank. */
export function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

/** Random numbers from 0 to 1 that are the same in every run (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

function rounded(value: number): number {
  return Number(value.toPrecision(6))
}
