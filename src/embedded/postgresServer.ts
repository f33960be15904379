// The server process. It runs detached in its own session, so that neither Ctrl-C nor a crash of this process ends it.
// A later start finds the server that still runs, and uses it if it would start the same one.

import { execFileSync, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { EmbeddedError } from './embeddedError.ts'
import { commandFor, type ServerUser } from './serverUser.ts'

export type ServerOptions = {
  binary: string
  user: ServerUser | undefined
  cluster: string
  logFile: string
  settings: Record<string, string>
  /** Undefined: any free port. */
  port?: number
  /** Whether a running server accepts our password. */
  acceptsPassword: (port: number) => Promise<boolean>
  log: (message: string) => void
}

export type RunningServer = { pid: number; port: number }

const START_ATTEMPTS = 5
const POLL_MS = 10
const REPORT_SECONDS = 5
const START_TIMEOUT_MS = 120_000
/** Signals, each with its timeout in milliseconds. */
const STOP_STEPS = [
  ['SIGINT', 20_000], // fast shutdown: ends sessions and writes the data
  ['SIGQUIT', 10_000], // immediate shutdown: the next start runs recovery
] as const

export async function runServer(options: ServerOptions): Promise<RunningServer> {
  for (let attempt = 1; attempt <= START_ATTEMPTS; attempt++) {
    const running = await reuseRunning(options)
    if (running) return running
    const started = await start(options)
    if (started) return started
    // Another process took the port, or children of a killed server still hold its shared memory. Both pass.
    await sleep(attempt * 100)
  }
  throw new EmbeddedError(
    'START_FAILED',
    `Postgres does not start. ${options.logFile} says why:\n${lastLines(options.logFile)}`,
  )
}

/** The port of this cluster's server, if it runs. */
export function servingPort(cluster: string): number | undefined {
  const found = readPidFile(cluster)
  return found?.isReady && serves(found.pid, cluster) ? found.port : undefined
}

/** Tries a fast shutdown, then an immediate one. Returns when the process has ended. */
export async function stopServer(pid: number, cluster: string): Promise<void> {
  for (const [signal, timeoutMs] of STOP_STEPS) {
    if (!serves(pid, cluster)) return
    try {
      process.kill(pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
    if (await waitUntil(timeoutMs, () => !serves(pid, cluster))) return
  }
  throw new EmbeddedError('STOP_FAILED', `Postgres (process ${pid}) does not stop. Please end that process.`)
}

async function reuseRunning(options: ServerOptions): Promise<RunningServer | undefined> {
  const { cluster, log } = options
  const found = readPidFile(cluster)
  if (!found) return undefined
  if (!serves(found.pid, cluster)) {
    // Postgres does not start while any process has the id in the file. If that process is not Postgres, the file is
    // stale and is removed. If it is, Postgres itself decides and reports it.
    if (!isPostgres(found.pid)) rmSync(join(cluster, 'postmaster.pid'), { force: true })
    return undefined
  }
  const port = await readyPort(found.pid, options, () => !serves(found.pid, cluster))
  if (port === undefined && !serves(found.pid, cluster)) return undefined
  const asStarted = port !== undefined && commandLine(found.pid) === startCommand(options, port).join(' ')
  if (asStarted && (await options.acceptsPassword(port))) {
    log(`using the server that is still running (process ${found.pid})`)
    return { pid: found.pid, port }
  }
  log(`stopping a server with other settings or another password (process ${found.pid})`)
  await stopServer(found.pid, cluster)
  return undefined
}

/** Returns undefined if the server ended at once; its log has the reason. */
async function start(options: ServerOptions): Promise<RunningServer | undefined> {
  const [binary = '', ...args] = startCommand(options, options.port ?? (await freePort()))
  const command = commandFor(options.user, binary, args)
  const output = openSync(options.logFile, 'w') // each start overwrites the log, so it stays small
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
  let reported = 0
  let port: number | undefined
  await waitUntil(START_TIMEOUT_MS, () => {
    const state = readPidFile(options.cluster)
    if (state?.pid === pid && state.isReady) port = state.port
    const seconds = Math.floor((Date.now() - began) / 1000 / REPORT_SECONDS) * REPORT_SECONDS
    if (seconds > reported) options.log(`waiting for Postgres to be ready, ${seconds} s`)
    reported = seconds
    return port !== undefined || isGone()
  })
  return port
}

/** Line 1 has the process id, line 4 the port, line 8 the state. */
function readPidFile(cluster: string): { pid: number; port: number; isReady: boolean } | undefined {
  try {
    const lines = readFileSync(join(cluster, 'postmaster.pid'), 'utf8').split('\n')
    const pid = Number(lines[0])
    return pid > 0 ? { pid, port: Number(lines[3]), isReady: lines[7]?.trim() === 'ready' } : undefined
  } catch {
    return undefined
  }
}

/** Whether the process is this cluster's server. The id alone is not enough: another process may have it by now. */
export function serves(pid: number, cluster: string): boolean {
  return commandLine(pid).includes(` -D ${cluster} `)
}

/** Whether the process is a Postgres server. Its children are titled `postgres: ...` and do not match. */
function isPostgres(pid: number): boolean {
  return /(^|\/)(postgres|postmaster)( |$)/.test(commandLine(pid))
}

/** Empty for a process that has ended, even if it is still a zombie. */
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

async function waitUntil(timeoutMs: number, isDone: () => boolean): Promise<boolean> {
  const end = Date.now() + timeoutMs
  while (!isDone()) {
    if (Date.now() > end) return false
    await sleep(POLL_MS)
  }
  return true
}

function lastLines(file: string): string {
  return readFileSync(file, 'utf8').trim().split('\n').slice(-15).join('\n')
}
