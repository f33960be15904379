/** A copy of the project in a temporary directory, in which a test may write files and run commands. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { projectDirectory } from '../../scripts/support/commands.ts'

export type ProjectCopy = {
  /** Its path has a space and a letter beyond ASCII, as a user's may. */
  directory: string
  /** Runs a command line to its end. */
  run(command: string): Promise<{ status: number | null; output: string }>
  /** Starts a program in the copy. */
  start(file: string, args: string[]): ChildProcess
  /** What commands have left in their temporary directory. */
  leftovers(): string[]
  /** Ends what still runs, and removes everything. */
  remove(): void
}

/** Copies the files that git knows, and those that it would add. */
export function copyProject(): ProjectCopy {
  const home = mkdtempSync(join(tmpdir(), 'forecourt-copy-'))
  const directory = join(home, 'a cöpy')
  const temporary = join(home, 'tmp')
  mkdirSync(temporary, { mode: 0o755 })
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: projectDirectory,
    encoding: 'utf8',
  })
  for (const path of list
    .split('\0')
    .filter(path => path !== '' && existsSync(join(projectDirectory, path)))) {
    mkdirSync(dirname(join(directory, path)), { recursive: true })
    cpSync(join(projectDirectory, path), join(directory, path))
  }
  symlinkSync(join(projectDirectory, 'node_modules'), join(directory, 'node_modules'))
  const children: ChildProcess[] = []
  const start = (file: string, args: string[]) => {
    const { PATH = '', HOME = '' } = process.env
    // a group of its own, so that it can be ended with its children
    const child = spawn(file, args, {
      cwd: directory,
      env: { PATH, HOME, TMPDIR: temporary },
      detached: true,
    })
    children.push(child)
    return child
  }
  return {
    directory,
    start,
    async run(command) {
      const child = start('sh', ['-c', command])
      let output = ''
      for (const stream of [child.stdout, child.stderr]) {
        stream?.setEncoding('utf8').on('data', text => {
          output += text
        })
      }
      const [status] = await once(child, 'close')
      return { status, output }
    },
    leftovers: () => readdirSync(temporary).filter(name => name.startsWith('forecourt')),
    remove() {
      for (const { pid, exitCode, signalCode } of children) {
        if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, 'SIGTERM')
      }
      rmSync(home, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 })
    },
  }
}
