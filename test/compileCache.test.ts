/** The compile cache: runs the commands of package.json with a program that prints its build and its cache directory. */
import { execFile } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { argumentsOf, projectDirectory } from '../scripts/support/commands.ts'

const COMMANDS = ['start', 'api', 'worker', 'migrate', 'db:doctor', 'admin']
/** Both builds have this file time, so that the cache can only tell them apart by their content. */
const FILE_TIME = new Date('2026-01-01')

let project: string

beforeEach(() => {
  project = mkdtempSync(join(realpathSync(tmpdir()), 'forecourt cache-'))
  mkdirSync(join(project, 'src'))
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }')
  cpSync(join(projectDirectory, 'src/compileCache.js'), join(project, 'src/compileCache.js'))
  writeProgram(1)
})

afterEach(() => rmSync(project, { recursive: true }))

function writeProgram(build: number): void {
  for (const file of ['src/main.ts', 'src/doctor.ts', 'src/admin.ts']) {
    const text = `import { getCompileCacheDir } from 'node:module'
      const build: number = ${build}
      console.log(JSON.stringify({ build, directory: getCompileCacheDir() }))`
    writeFileSync(join(project, file), text)
    utimesSync(join(project, file), FILE_TIME, FILE_TIME)
  }
}

async function run(command: string): Promise<{ build: number; directory?: string }> {
  const { PATH = '' } = process.env
  const { stdout } = await promisify(execFile)(process.execPath, argumentsOf(command), {
    cwd: project,
    env: { PATH },
  })
  return JSON.parse(stdout)
}

test.each(COMMANDS)(
  'npm run %s stores the compiled file that it starts in the cache, without its types',
  async command => {
    const { directory = '' } = await run(command)
    expect(directory).toContain(join(project, 'node_modules/.cache/forecourt'))
    const kept = readdirSync(directory).map(name => readFileSync(join(directory, name), 'latin1'))
    expect(kept.filter(text => /const build {9}= 1/.test(text))).toHaveLength(1)
  },
)

test('a changed file is not loaded from the cache', async () => {
  expect((await run('start')).build).toBe(1)
  writeProgram(2)
  expect((await run('start')).build).toBe(2)
})

test('a command runs without the cache when the cache directory cannot be written', async () => {
  mkdirSync(join(project, 'node_modules'))
  writeFileSync(join(project, 'node_modules/.cache'), 'a file instead of a directory')
  expect(await run('worker')).toEqual({ build: 1 })
})
