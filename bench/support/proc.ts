/** Linux's /proc. On other systems every file is empty. */
import { readdirSync, readFileSync } from 'node:fs'

export type Stat = { parent: number; group: number; cpuMs: number; endedChildrenMs: number }

/** Linux reports CPU time in ticks of this length on every architecture. */
const TICK_MS = 10

export function readProc(file: string): string {
  try {
    return readFileSync(`/proc/${file}`, 'utf8')
  } catch {
    return ''
  }
}

export function listProcesses(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

/** Undefined if there is no such process. */
export function statOf(pid: number): Stat | undefined {
  const text = readProc(`${pid}/stat`)
  if (text === '') return undefined
  // the name of the program comes first, in parentheses, and may contain spaces
  const fields = text
    .replace(/^.*\) /s, '')
    .split(' ')
    .map(Number)
  const at = (index: number) => fields[index] ?? 0
  return {
    parent: at(1),
    group: at(2),
    cpuMs: (at(11) + at(12)) * TICK_MS,
    endedChildrenMs: (at(13) + at(14)) * TICK_MS,
  }
}

/** User and system time of these processes. Undefined without /proc. */
export function cpuOf(pids: number[]): number | undefined {
  const stats = pids.map(statOf)
  return stats.includes(undefined) ? undefined : stats.reduce((sum, stat) => sum + (stat?.cpuMs ?? 0), 0)
}

/** The same of a process and its children. The kernel adds the time of a child that has ended to its parent. */
export function cpuOfFamily(pid: number): number | undefined {
  const parent = statOf(pid)
  if (parent === undefined) return undefined
  const stats = listProcesses().map(statOf)
  const children = stats.filter(stat => stat?.parent === pid)
  return children.reduce((sum, child) => sum + (child?.cpuMs ?? 0), parent.cpuMs + parent.endedChildrenMs)
}
