/** Runs the command of an npm script in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { argumentsOf, projectDirectory } from '../../scripts/support/commands.ts'
import { jwtSecret } from './apiServer.ts'
import type { TestDatabase } from './database.ts'
import { until } from './waits.ts'

const children: ChildProcess[] = []

/** For `afterEach`: ends the processes that a failed test has left running. */
export async function killLeftOvers(): Promise<void> {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
  }
}

export type Running = {
  child: ChildProcess
  /** Its output so far, from both streams. */
  output(): string
  /** Its exit code when it ends, or the signal that ended it. */
  ended: Promise<number | string>
}

/** Runs the command of an npm script in a clean environment, which has only PATH and HOME of this process. */
export function start(
  command: string,
  env: Record<string, string> = {},
  directory = projectDirectory,
): Running {
  const [name = '', ...args] = command.split(' ')
  return startNode([...argumentsOf(name), ...args].join(' '), { PORT: '0', ...env }, directory)
}

/** The same for the arguments of Node. */
export function startNode(args: string, env: Record<string, string>, directory = projectDirectory): Running {
  const { PATH = '', HOME = '' } = process.env
  const child = spawn(process.execPath, args.split(' '), { cwd: directory, env: { PATH, HOME, ...env } })
  children.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', text => (output += text))
  const ended = once(child, 'close').then(([code, signal]) => code ?? signal)
  return { child, output: () => output, ended }
}

export function startOn(
  { ownerUrl }: Pick<TestDatabase, 'ownerUrl'>,
  command: string,
  env: Record<string, string> = {},
): Running {
  return start(command, { DATABASE_URL: ownerUrl, JWT_SECRET: jwtSecret, ...env })
}

/** Waits until the process reports that it is ready, and returns the URL of the API. */
export async function untilReady({ output, child }: Running): Promise<string> {
  await until('the process is ready', () => output().includes('Stop  ') || child.exitCode !== null, 120)
  const [, url] = /GraphQL API +(http\S+)\/graphql/.exec(output()) ?? []
  if (url === undefined) throw new Error(`the process did not start:\n${output()}`)
  return url
}
