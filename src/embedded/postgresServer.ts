// The server process: a child in a session of its own, so that neither Ctrl-C nor our death takes it along. What
// an earlier process left running is therefore found again, and used if it is what we would start.

import { execFileSync, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Account, commandFor } from './account.ts'
import { EmbeddedError } from './error.ts'

export type ServerOptions = {
  binary: string
  account: Account | undefined
  cluster: string
  logFile: string
  settings: Record<string, string>
  /** Whether a server that was found running answers to our password. */
  answers: (port: number) => Promise<boolean>
  log: (message: string) => void
}

export type RunningServer = { pid: number; port: number }

const ATTEMPTS = 5
const POLL_MS = 10
const START_MS = 120_000
const STOP_STEPS = [
  ['SIGINT', 20_000], // fast: sessions are ended, data is written
  ['SIGQUIT', 10_000], // immediate: the next start recovers
] as const

export async function runServer(options: ServerOptions): Promise<RunningServer> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const adopted = await adopt(options)
    if (adopted) return adopted
    const started = await start(options)
    if (started) return started
    // Somebody took the port, or processes of a killed server still hold its memory: both pass.
    await sleep(attempt * 100)
  }
  throw new EmbeddedError(
    'START_FAILED',
    `Postgres does not start. The end of ${options.logFile}:\n${lastLines(options.logFile)}`,
  )
}

/** The port of the server of this cluster, if one is up. */
export function servingPort(cluster: string): number | undefined {
  const found = readPidFile(cluster)
  return found?.isReady && serves(found.pid, cluster) ? found.port : undefined
}

/** Fast shutdown, then a harder one; returns when the process is gone. */
export async function stopServer(pid: number, cluster: string): Promise<void> {
  for (const [signal, patience] of STOP_STEPS) {
    if (!serves(pid, cluster)) return
    try {
      process.kill(pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
    if (await within(patience, () => !serves(pid, cluster))) return
  }
  throw new EmbeddedError('STOP_FAILED', `Postgres (process ${pid}) does not stop. End it by hand.`)
}

async function adopt(options: ServerOptions): Promise<RunningServer | undefined> {
  const { cluster, log } = options
  const found = readPidFile(cluster)
  if (!found) return undefined
  if (!serves(found.pid, cluster)) {
    // Postgres takes any living process of this id for a server. If it is none, the file is a leftover; if it is
    // one that was started by other means, Postgres itself decides and says so.
    if (!isPostgres(found.pid)) rmSync(join(cluster, 'postmaster.pid'), { force: true })
    return undefined
  }
  const port = await readyPort(found.pid, options, () => !serves(found.pid, cluster))
  if (port === undefined && !serves(found.pid, cluster)) return undefined
  const asStarted = port !== undefined && commandLine(found.pid) === startCommand(options, port).join(' ')
  if (asStarted && (await options.answers(port))) {
    log(`using the server that is still running (process ${found.pid})`)
    return { pid: found.pid, port }
  }
  log(`stopping a server that was started differently (process ${found.pid})`)
  await stopServer(found.pid, cluster)
  return undefined
}

/** Undefined: it ended at once; the reason is in its log. */
async function start(options: ServerOptions): Promise<RunningServer | undefined> {
  const [binary = '', ...args] = startCommand(options, await freePort())
  const command = commandFor(options.account, binary, args)
  const output = openSync(options.logFile, 'w') // begins anew with each start: bounded, and about this run
  const stdio = ['ignore', output, output] as const
  const child = spawn(command.file, command.args, { ...command.options, detached: true, stdio: [...stdio] })
  closeSync(output)
  child.unref()
  let isGone = false
  child.once('exit', () => {
    isGone = true
  })
  await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject))

  const pid = child.pid as number
  const port = await readyPort(pid, options, () => isGone)
  if (port !== undefined) return { pid, port }
  if (!isGone) await stopServer(pid, options.cluster)
  return undefined
}

function startCommand({ binary, cluster, settings }: ServerOptions, port: number): string[] {
  const assignments = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  return [binary, '-D', cluster, ...assignments, '-p', String(port)]
}

async function readyPort(
  pid: number,
  options: ServerOptions,
  isGone: () => boolean,
): Promise<number | undefined> {
  const began = Date.now()
  let told = 0
  let port: number | undefined
  await within(START_MS, () => {
    const state = readPidFile(options.cluster)
    if (state?.pid === pid && state.isReady) port = state.port
    const seconds = Math.floor((Date.now() - began) / 5000) * 5
    if (seconds > told) options.log(`waiting for Postgres to be ready, ${seconds} s`)
    told = seconds
    return port !== undefined || isGone()
  })
  return port
}

/** The lines that matter here: 1 process id, 4 port, 8 state. */
function readPidFile(cluster: string): { pid: number; port: number; isReady: boolean } | undefined {
  try {
    const lines = readFileSync(join(cluster, 'postmaster.pid'), 'utf8').split('\n')
    const pid = Number(lines[0])
    return pid > 0 ? { pid, port: Number(lines[3]), isReady: lines[7]?.trim() === 'ready' } : undefined
  } catch {
    return undefined
  }
}

/** Whether the process is the server of this very cluster: its id alone may long belong to another. */
function serves(pid: number, cluster: string): boolean {
  return commandLine(pid).includes(` -D ${cluster} `)
}

/** The processes that a server forks for its work are titled `postgres: ...` and do not count. */
function isPostgres(pid: number): boolean {
  return /(^|\/)(postgres|postmaster)( |$)/.test(commandLine(pid))
}

/** Empty for a process that has ended, also if nobody has collected it yet. */
function commandLine(pid: number): string {
  try {
    if (process.platform === 'linux') {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0$/, '').replaceAll('\0', ' ')
    }
    const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore']
    return execFileSync('ps', ['-ww', '-o', 'args=', '-p', String(pid)], { encoding: 'utf8', stdio }).trim()
  } catch {
    return ''
  }
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve, reject) => probe.once('error', reject).listen(0, '127.0.0.1', resolve))
  const address = probe.address()
  await new Promise(resolve => probe.close(resolve))
  return typeof address === 'object' && address ? address.port : 0
}

async function within(milliseconds: number, isDone: () => boolean): Promise<boolean> {
  const end = Date.now() + milliseconds
  while (!isDone()) {
    if (Date.now() > end) return false
    await sleep(POLL_MS)
  }
  return true
}

function lastLines(file: string): string {
  return readFileSync(file, 'utf8').trim().split('\n').slice(-15).join('\n')
}
