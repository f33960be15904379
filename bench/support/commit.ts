/** The project as it was in another commit, in the temporary directory, ready to run. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { newDirectory } from '../../scripts/support/databases.ts'
import { jwtSecret, outputFile } from './cluster.ts'
import { runToEnd } from './processes.ts'

/** The full hash of a commit. Fails if there is none. */
export function resolveCommit(name: string): string {
  return git('rev-parse', '--verify', '--end-of-options', `${name}^{commit}`).toString().trim()
}

/** Exports the files, so that an interrupted run leaves nothing in the repository. */
export async function checkOut(hash: string): Promise<string> {
  const home = newDirectory('forecourt-against-')
  const directory = join(home, 'project')
  mkdirSync(directory)
  execFileSync('tar', ['-x', '-C', directory], { input: git('archive', hash) })
  if (lockedPackages(directory) === lockedPackages('.')) linkModules(directory)
  else await runNpm({ directory: home }, directory, ['ci'])
  return directory
}

/** The locked packages, without the version of the project itself: a release changes that, and needs no other packages. */
function lockedPackages(project: string): string {
  const { packages } = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8'))
  return JSON.stringify({ ...packages, '': { ...packages[''], version: '' } })
}

/** Makes node_modules of links, without the cache of compiled code, which belongs to the developer. */
export function linkModules(project: string): void {
  mkdirSync(join(project, 'node_modules'))
  for (const name of readdirSync('node_modules')) {
    if (name !== '.cache') symlinkSync(resolve('node_modules', name), join(project, 'node_modules', name))
  }
}

/** Applies the migrations of the project to the empty database of this owner. */
export function migrateWith(directory: string, databaseUrl: string): Promise<void> {
  const env = { NODE_ENV: 'production', DATABASE_URL: databaseUrl, JWT_SECRET: jwtSecret }
  return runNpm({ directory: join(directory, '..') }, directory, ['run', 'migrate'], env)
}

function runNpm(
  outputs: { directory: string },
  cwd: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<void> {
  return runToEnd({ command: ['npm', ...args], cwd, env, output: outputFile(outputs, `npm-${args.at(-1)}`) })
}

function git(...args: string[]): Buffer {
  return execFileSync('git', args, { maxBuffer: 1_000_000_000, stdio: ['ignore', 'pipe', 'pipe'] })
}
