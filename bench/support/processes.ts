/** Starts the processes of the benchmark, waits until they are ready, and ends them with it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export type Running = {
  pid: number
  /** The first group of the match of `ready`. */
  found: string
  /** Time from its start until it was ready. */
  readyMs: number
  stop(): Promise<void>
}

export type Command = {
  /** Program and arguments. `node` means the Node of this process. */
  command: [string, ...string[]]
  env?: Record<string, string>
  cwd?: string
  /** The file for its output: a pipe would have to be read during a measurement. */
  output: string
}

const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 30_000
const POLL_MS = 5

const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) kill(child, 'SIGKILL')
})

/** Waits until the output matches `ready`. */
export async function startProcess({ ready, ...command }: Command & { ready: RegExp }): Promise<Running> {
  const began = performance.now()
  const child = launch(command)
  let ended = false
  child.once('error', () => (ended = true)).once('exit', () => (ended = true))
  const stop = async () => {
    kill(child, 'SIGINT')
    for (const end = performance.now() + STOP_TIMEOUT_MS; !ended && performance.now() < end; )
      await sleep(POLL_MS)
    kill(child, 'SIGKILL')
    children.delete(child)
  }
  for (
    const end = performance.now() + START_TIMEOUT_MS;
    performance.now() < end && !ended;
    await sleep(POLL_MS)
  ) {
    const found = ready.exec(readFileSync(command.output, 'utf8'))
    if (found === null) continue
    return { pid: child.pid ?? 0, found: found[1] ?? '', readyMs: performance.now() - began, stop }
  }
  await stop()
  throw failure(command, 'does not start')
}

/** Waits until the process has ended. Fails unless it succeeded. */
export async function runToEnd(command: Command): Promise<void> {
  const child = launch(command)
  try {
    const [code] = await once(child, 'exit')
    if (code !== 0) throw failure(command, `ended with ${code}`)
  } finally {
    children.delete(child)
  }
}

function launch({ command: [program, ...args], env, cwd, output }: Command): ChildProcess {
  const { PATH = '', HOME = '' } = process.env
  const file = openSync(output, 'w')
  const child = spawn(program === 'node' ? process.execPath : program, args, {
    env: { PATH, HOME, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    stdio: ['ignore', file, file],
    // its own process group, so that npm and its children end together
    detached: true,
  })
  closeSync(file)
  children.add(child)
  return child
}

function failure({ command, output }: Command, what: string): Error {
  return new Error(`${command.join(' ')} ${what}:\n${readFileSync(output, 'utf8').slice(-2_000)}`)
}

function kill({ pid, exitCode, signalCode }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    // when the process has ended, its group may still have members
    process.kill(-pid, exitCode === null && signalCode === null ? signal : 'SIGKILL')
  } catch {
    // the whole group has ended
  }
}
