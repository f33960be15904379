/** The memory of a process, from Linux's /proc. Undefined on other systems. */
import { listProcesses, readProc, statOf } from './proc.ts'

/** In MB of 1,000,000 bytes. */
export type Memory = { rss: number; peak: number; pss?: number }

export function memoryOf(pid: number): Memory | undefined {
  const status = readProc(`${pid}/status`)
  const rss = megabytes(status, 'VmRSS')
  const peak = megabytes(status, 'VmHWM')
  if (rss === undefined || peak === undefined) return undefined
  const pss = megabytes(readProc(`${pid}/smaps_rollup`), 'Pss')
  return { rss, peak, ...(pss === undefined ? {} : { pss }) }
}

/** The process of a group that was started with this argument, or the leader of the group if there is none. */
export function memberOf(group: number, argument: string): number {
  // compare whole arguments: npm and the shell have it inside a longer one
  const isMember = (pid: number) =>
    statOf(pid)?.group === group && readProc(`${pid}/cmdline`).split('\0').includes(argument)
  return listProcesses().find(isMember) ?? group
}

function megabytes(text: string, name: string): number | undefined {
  const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]
  return kilobytes === undefined ? undefined : (Number(kilobytes) * 1024) / 1_000_000
}
