import { expect, test } from '@jest/globals'
import { mergeRuns, type Run } from '../../bench/support/results.ts'

const run = (commit: string, ...names: string[]): Run => ({
  commit,
  changed: 0,
  at: '2026-01-01T00:00:00.000Z',
  machine: { cpu: 'a processor', cores: 2, memoryGb: 8, platform: 'linux x64' },
  node: 'v24.0.0',
  postgres: '18.0',
  mode: 'full',
  results: names.map(name => ({ name, title: name, seconds: 1, tables: [], targets: [], notes: [] })),
})
const scenarios = (runs: Run[]) => runs.map(({ commit, results }) => [commit, ...results.map(r => r.name)])

test('figures of a scenario replace its earlier ones, and the other scenarios keep theirs', () => {
  const runs = [run('a', 'publish', 'read', 'login')].reduce(mergeRuns, [])
  expect(scenarios(mergeRuns(runs, run('b', 'read')))).toEqual([
    ['a', 'publish', 'login'],
    ['b', 'read'],
  ])
})

test('a run whose scenarios were all measured again is dropped', () => {
  const runs = [run('a', 'read'), run('b', 'publish'), run('b', 'publish', 'read')].reduce(mergeRuns, [])
  expect(scenarios(runs)).toEqual([['b', 'publish', 'read']])
})
