/** The queue model of the benchmark, where a limit is known on paper. */
import { expect, test } from '@jest/globals'
import { simulate } from '../../bench/support/simulation.ts'

const machine = { cores: 8, processes: 4, slots: 10, connections: 10, clients: 64, dealers: 9_000 }
const costs = { client: 0, api: 0.5, postgres: 1, flush: 0.1 }

test('one client waits for the sum of all costs', () => {
  expect(simulate({ ...machine, clients: 1 }, costs).rate).toBeCloseTo(1000 / 1.6, -1.3)
})

test('with enough of everything else, the cores are full', () => {
  const { rate, coresBusy } = simulate({ ...machine, processes: 8 }, costs)
  expect(coresBusy).toBeGreaterThan(0.95)
  expect(rate).toBeCloseTo(8_000 / 1.5, -3)
})

test('one API process serves no more than one thread can', () => {
  const { rate, threadsBusy } = simulate({ ...machine, processes: 1 }, costs)
  expect(threadsBusy).toBeGreaterThan(0.95)
  expect(rate).toBeLessThan(1.05 * (1000 / costs.api))
})

test('publications of one dealer follow each other, but do not wait for their flushes', () => {
  const { rate } = simulate({ ...machine, dealers: 1 }, { ...costs, flush: 1 })
  expect(rate).toBeLessThan(1.05 * (1000 / costs.postgres))
  expect(rate).toBeGreaterThan(0.95 * (1000 / costs.postgres))
})

test('publications of many dealers share a flush', () => {
  const { rate, flushBusy } = simulate({ ...machine, cores: 32, processes: 16 }, { ...costs, flush: 2 })
  expect(flushBusy).toBeGreaterThan(0.9)
  expect(rate).toBeGreaterThan(5 * (1000 / 2))
})
