/** Processes that the benchmark starts: they say when they are ready, and none outlives it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export type Running = {
  pid: number
  /** What `ready` has found, in its first group. */
  found: string
  /** Milliseconds from its start until it was ready. */
  readyMs: number
  stop(): Promise<void>
}

export type Command = {
  /** Program and arguments; `node` is ours. */
  command: [string, ...string[]]
  env?: Record<string, string>
  cwd?: string
  /** What it writes once it is ready. */
  ready: RegExp
  /** Where it writes: a file, so that nobody has to read along while figures are taken. */
  output: string
}

const READY_MS = 60_000
const STOP_MS = 30_000
const POLL_MS = 5

const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) kill(child, 'SIGKILL')
})

export async function startProcess({ command, env, cwd, ready, output }: Command): Promise<Running> {
  const [program, ...args] = command
  const { PATH = '', HOME = '' } = process.env
  const file = openSync(output, 'w')
  const began = performance.now()
  const child = spawn(program === 'node' ? process.execPath : program, args, {
    env: { PATH, HOME, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    stdio: ['ignore', file, file],
    // a group of its own: npm and what it starts are ended together
    detached: true,
  })
  closeSync(file)
  children.add(child)
  let ended = false
  child.once('error', () => (ended = true)).once('exit', () => (ended = true))
  const stop = async () => {
    kill(child, 'SIGINT')
    for (const end = performance.now() + STOP_MS; !ended && performance.now() < end; ) await sleep(POLL_MS)
    kill(child, 'SIGKILL')
    children.delete(child)
  }
  for (const end = performance.now() + READY_MS; performance.now() < end && !ended; await sleep(POLL_MS)) {
    const found = ready.exec(readFileSync(output, 'utf8'))
    if (found === null) continue
    return { pid: child.pid ?? 0, found: found[1] ?? '', readyMs: performance.now() - began, stop }
  }
  await stop()
  throw new Error(`${command.join(' ')} does not start:\n${readFileSync(output, 'utf8').slice(-2_000)}`)
}

function kill({ pid, exitCode, signalCode }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    // of a process that has ended, its group may have members left
    process.kill(-pid, exitCode === null && signalCode === null ? signal : 'SIGKILL')
  } catch {
    // all of it is gone
  }
}
