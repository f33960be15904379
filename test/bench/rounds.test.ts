/** The order in which the benchmark measures the sides of a comparison. */
import { expect, test } from '@jest/globals'
import { interleave, ordersOf } from '../../bench/support/scenario.ts'

const SILENT = { begin() {}, expect() {}, step() {}, clear() {} }

test.each([
  [2, 3],
  [3, 3],
  [4, 4],
  [5, 6],
])('with %i sides, every side follows every other one within %i rounds', (count, rounds) => {
  const names = 'abcde'.slice(0, count).split('')
  const sequence = ordersOf(names, rounds).flat()
  const followed = new Set(sequence.slice(1).map((name, index) => sequence[index] + name))
  const missing = names.flatMap(a => names.filter(b => b !== a && !followed.has(a + b)).map(b => a + b))
  expect(missing).toEqual([])
})

test('every side is measured once in each round, with the seed of the round', async () => {
  const measured: string[] = []
  const side = (name: string) => async (seed: number) => {
    measured.push(`${name} ${seed}`)
    return seed
  }
  const values = await interleave({ rounds: 3, progress: SILENT }, { a: side('a'), b: side('b') })
  expect(values).toEqual({ a: [1000, 1001, 1002], b: [1000, 1001, 1002] })
  expect(measured.toSorted()).toEqual(['a 1000', 'a 1001', 'a 1002', 'b 1000', 'b 1001', 'b 1002'])
})
