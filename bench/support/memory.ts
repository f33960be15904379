/** The memory of a process, from Linux's /proc. Undefined on other systems. */
import { readdirSync, readFileSync } from 'node:fs'

/** In MB of 1,000,000 bytes. */
export type Memory = { rss: number; peak: number; pss?: number }

export function memoryOf(pid: number): Memory | undefined {
  const status = read(`/proc/${pid}/status`)
  const rss = megabytes(status, 'VmRSS')
  const peak = megabytes(status, 'VmHWM')
  if (rss === undefined || peak === undefined) return undefined
  const pss = megabytes(read(`/proc/${pid}/smaps_rollup`), 'Pss')
  return { rss, peak, ...(pss === undefined ? {} : { pss }) }
}

/** The process of a group that was started with this argument, or the leader of the group if there is none. */
export function memberOf(group: number, argument: string): number {
  for (const entry of listProcesses()) {
    const [, , pgrp] = read(`/proc/${entry}/stat`)
      .replace(/^.*\) /s, '')
      .split(' ')
    if (Number(pgrp) !== group) continue
    // compare whole arguments: npm and the shell have it inside a longer one
    if (read(`/proc/${entry}/cmdline`).split('\0').includes(argument)) return entry
  }
  return group
}

function listProcesses(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

function megabytes(text: string, name: string): number | undefined {
  const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]
  return kilobytes === undefined ? undefined : (Number(kilobytes) * 1024) / 1_000_000
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
