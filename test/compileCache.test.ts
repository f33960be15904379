/** The commands of package.json in a project of two files: src/compileCache.js, and a program that says what it runs with. */
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

const COMMANDS = ['start', 'api', 'worker', 'migrate', 'db:doctor']
/** What the cache may not tell: a file is known by its content. */
const TIME = new Date('2026-01-01')

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
  for (const file of ['src/main.ts', 'src/doctor.ts']) {
    const text = `import { getCompileCacheDir } from 'node:module'
      const build: number = ${build}
      console.log(JSON.stringify({ build, directory: getCompileCacheDir() }))`
    writeFileSync(join(project, file), text)
    utimesSync(join(project, file), TIME, TIME)
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

test.each(COMMANDS)('npm run %s keeps the file that it starts, without its types', async command => {
  const { directory = '' } = await run(command)
  expect(directory).toContain(join(project, 'node_modules/.cache/forecourt'))
  const kept = readdirSync(directory).map(name => readFileSync(join(directory, name), 'latin1'))
  expect(kept.filter(text => /const build {9}= 1/.test(text))).toHaveLength(1)
})

test('a file that has changed is not taken from the cache', async () => {
  expect((await run('start')).build).toBe(1)
  writeProgram(2)
  expect((await run('start')).build).toBe(2)
})

test('where the cache cannot be written, a command runs without it', async () => {
  mkdirSync(join(project, 'node_modules'))
  writeFileSync(join(project, 'node_modules/.cache'), 'a file, where a directory should be')
  expect(await run('worker')).toEqual({ build: 1 })
})
