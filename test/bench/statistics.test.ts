/** The statistics of the benchmark. */
import { expect, test } from '@jest/globals'
import { figure, isSteady, percentile, ratio, seededRandom } from '../../bench/support/statistics.ts'

test('a figure has the median, minimum and maximum of its rounds, whatever their order', () => {
  expect(figure([5, 1, 9])).toMatchObject({ median: 5, min: 1, max: 9, rounds: [5, 1, 9] })
  expect(figure([4, 1, 9, 2])).toMatchObject({ median: 3 })
})

test('a ratio compares both sides round by round, so that a slow round favours neither', () => {
  expect(ratio([10, 100, 30], [20, 200, 60])).toMatchObject({ median: 0.5, min: 0.5, max: 0.5 })
})

test('a percentile is one of the values, by the nearest-rank method', () => {
  const values = Float64Array.from({ length: 100 }, (_, index) => index + 1)
  expect([0.5, 0.99, 1].map(share => percentile(values, share))).toEqual([50, 99, 100])
  expect(percentile(Float64Array.of(7), 0.99)).toBe(7)
})

test('the same seed gives the same numbers, distributed evenly from 0 to 1', () => {
  const numbers = (seed: number) => Array.from({ length: 10_000 }, seededRandom(seed))
  expect(numbers(1)).toEqual(numbers(1))
  expect(numbers(1)).not.toEqual(numbers(2))
  const average = numbers(1).reduce((sum, number) => sum + number, 0) / 10_000
  expect(average).toBeGreaterThan(0.48)
  expect(average).toBeLessThan(0.52)
})

test.each([
  [[], false],
  [[100], false],
  [[100, 94], false],
  [[94, 100], false],
  [[100, 96], true],
  [[100, 100, 50], false],
  [[0, 0], false],
])('the counts %j are steady: %s', (counts, expected) => {
  expect(isSteady(counts)).toBe(expected)
})
