/** Writes the results of a run: the figures and their origin, a chart, and the tables of docs/performance.md. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
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
  seconds: number
  results: Named[]
}

export function describeRun(run: Pick<Run, 'postgres' | 'mode' | 'seconds' | 'results'>): Run {
  const processors = cpus()
  return {
    commit: git('rev-parse', 'HEAD'),
    changed: git('status', '--porcelain', '--untracked-files=no').split('\n').filter(Boolean).length,
    at: new Date().toISOString(),
    machine: {
      cpu: processors[0]?.model.trim() ?? 'unknown',
      cores: processors.length,
      memoryGb: Math.round(totalmem() / 1_000_000_000),
      platform: `${process.platform} ${process.arch}`,
    },
    node: process.version,
    ...run,
  }
}

/**
 * The figures of a full run of all scenarios are committed and shown in the documentation. Git ignores those of any other
 * run. Returns the written files.
 */
export function writeRun(run: Run, isComplete: boolean): string[] {
  mkdirSync(FOLDER, { recursive: true })
  const name = `${FOLDER}/${isComplete ? 'full' : 'last'}`
  writeFileSync(`${name}.json`, `${JSON.stringify(run, null, 2)}\n`)
  writeFileSync(`${name}.svg`, drawChart(run.results))
  if (!isComplete) return [`${name}.json`, `${name}.svg`]
  const text = readFileSync(DOCUMENT, 'utf8')
  const [begin, end] = MARKERS.map(marker => text.indexOf(marker)) as [number, number]
  if (begin < 0 || end < begin)
    throw new Error(`${DOCUMENT} has no markers for the figures: ${MARKERS.join(' and ')}`)
  const figures = `${MARKERS[0]}\n\n${renderRun(run)}\n\n`
  writeFileSync(DOCUMENT, text.slice(0, begin) + figures + text.slice(end))
  return [`${name}.json`, `${name}.svg`, DOCUMENT]
}

export function renderRun(run: Run): string {
  const { machine, results } = run
  const changed = run.changed > 0 ? ` and ${run.changed} changed files` : ''
  const where = `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.platform}`
  const head =
    `Commit \`${run.commit.slice(0, 12)}\`${changed}, ${run.at.slice(0, 10)}; ${where}; ` +
    `Node ${run.node}, Postgres ${run.postgres}; ${run.mode} run, ${Math.round(run.seconds / 6) / 10} minutes.`
  return [head, ...results.map(result => renderResult(result))].join('\n\n')
}

function git(...args: string[]): string {
  try {
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'unknown'
  }
}
