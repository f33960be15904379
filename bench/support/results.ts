/** Writes the results of a run: the figures and their origin, a chart, and the tables of docs/performance.md. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { drawChart } from './chart.ts'
import { type Named, renderResult } from './table.ts'

const FOLDER = 'bench/results'
const DOCUMENT = 'docs/performance.md'
const MARKERS = ['<!-- figures: written by npm run bench -->', '<!-- end of figures -->'] as const

export type Run = {
  commit: string
  /** Files that differ from the commit. */
  changed: number
  at: string
  machine: { cpu: string; cores: number; memoryGb: number; platform: string }
  node: string
  postgres: string
  mode: 'full' | 'quick'
  results: Named[]
}

/** The commit, the machine and the Node of a run. Call this before the run writes files, which would count as changed. */
export function describeOrigin(): Pick<Run, 'commit' | 'changed' | 'at' | 'machine' | 'node'> {
  const processors = cpus()
  return {
    commit: git('rev-parse', 'HEAD'),
    changed: git('status', '--porcelain', '--untracked-files=no', '--', '.', `:!${FOLDER}`, `:!${DOCUMENT}`)
      .split('\n')
      .filter(Boolean).length,
    at: new Date().toISOString(),
    machine: {
      cpu: processors[0]?.model.trim() ?? 'unknown',
      cores: processors.length,
      memoryGb: Math.round(totalmem() / 1_000_000_000),
      platform: `${process.platform} ${process.arch}`,
    },
    node: process.version,
  }
}

/** Writes the figures of a run, for its reader only: git ignores these files. Returns their names. */
export function writeRun(run: Run): string[] {
  return writeRuns('last', [run])
}

/**
 * Saves the figures of a run for the repository and its documentation. They replace those of the same scenarios; the other
 * scenarios keep the figures of an earlier run. Returns the written files.
 */
export function saveRun(run: Run): string[] {
  const path = `${FOLDER}/full.json`
  const runs = mergeRuns(existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : [], run)
  const text = readFileSync(DOCUMENT, 'utf8')
  const [begin, end] = MARKERS.map(marker => text.indexOf(marker)) as [number, number]
  if (begin < 0 || end < begin)
    throw new Error(`${DOCUMENT} has no markers for the figures: ${MARKERS.join(' and ')}`)
  const figures = `${[MARKERS[0], ...runs.map(renderRun)].join('\n\n')}\n\n`
  writeFileSync(DOCUMENT, text.slice(0, begin) + figures + text.slice(end))
  return [...writeRuns('full', runs), DOCUMENT]
}

/** The newest run is last. An earlier run keeps the scenarios that no later one has measured. */
export function mergeRuns(earlier: Run[], run: Run): Run[] {
  const measured = new Set(run.results.map(({ name }) => name))
  const kept = earlier.map(other => ({
    ...other,
    results: other.results.filter(({ name }) => !measured.has(name)),
  }))
  return [...kept.filter(({ results }) => results.length > 0), run]
}

function writeRuns(name: 'last' | 'full', runs: Run[]): string[] {
  mkdirSync(FOLDER, { recursive: true })
  const files = [`${FOLDER}/${name}.json`, `${FOLDER}/${name}.svg`] as const
  writeFileSync(files[0], `${JSON.stringify(runs, null, 2)}\n`)
  writeFileSync(files[1], drawChart(runs.flatMap(({ results }) => results)))
  return [...files]
}

export function renderRun(run: Run): string {
  const { machine, results } = run
  const changed = run.changed > 0 ? ` and ${run.changed} changed files` : ''
  const where = `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.platform}`
  const names = results.map(({ name }) => `\`${name}\``).join(', ')
  const seconds = results.reduce((sum, result) => sum + result.seconds, 0)
  const head =
    `Commit \`${run.commit.slice(0, 12)}\`${changed}, ${run.at.slice(0, 10)}; ${where}; ` +
    `Node ${run.node}, Postgres ${run.postgres}; ${run.mode} rounds of ${names}, ${Math.round(seconds / 6) / 10} minutes.`
  return [head, ...results.map(result => renderResult(result))].join('\n\n')
}

function git(...args: string[]): string {
  try {
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'unknown'
  }
}
