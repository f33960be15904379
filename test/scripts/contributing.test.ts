/** CONTRIBUTING.md, followed by a reader who has nothing else: every snippet is applied and every command runs, in order. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { applyChange, type Step, stepsOf } from './guide.ts'
import { copyProject, type ProjectCopy } from './projectCopy.ts'

const MINUTES = 60_000
/** CI runs all checks on the project itself. Those that need a second server would double the time of this test. */
const CHECKS = [
  'types',
  'lint',
  'house',
  'errors',
  'migrations:',
  'Postgres 18',
  'schema.graphql',
  'functions for',
  'fixtures',
]
const FIXTURE = 'migrations/fixtures/identity/set_dealer_type.sql'
const guide = await readFile(new URL('../../CONTRIBUTING.md', import.meta.url), 'utf8')
const steps = stepsOf(guide)

let copy: ProjectCopy

beforeAll(() => {
  copy = copyProject()
})

afterAll(() => copy.remove())

/** The guide tells readers to break the function and to see its test fail. */
async function breakOnce(command: string): Promise<void> {
  const path = join(copy.directory, FIXTURE)
  const text = await readFile(path, 'utf8')
  const broken = text.replace(/^.*require_member.*\n/m, '')
  expect(broken).not.toBe(text)
  await writeFile(path, broken)
  const { status, output } = await copy.run(command)
  await writeFile(path, text)
  expect([status, output]).toEqual([1, expect.stringContaining('● a user who is not a member is refused')])
}

async function follow(step: Step): Promise<void> {
  if (step.kind === 'command') {
    const command =
      step.command === 'npm run check'
        ? [step.command, '--', ...CHECKS.map(name => `'${name}'`)].join(' ')
        : step.command
    const { status, output } = await copy.run(command)
    if (status !== 0) throw new Error(`${step.command} ended with ${status}:\n${output}`)
    return
  }
  const path = join(copy.directory, step.path)
  await mkdir(dirname(path), { recursive: true })
  const text = step.kind === 'file' ? step.text : applyChange(await readFile(path, 'utf8'), step)
  await writeFile(path, text)
}

test('the guide has every kind of step', () => {
  expect([...new Set(steps.map(({ kind }) => kind))].sort()).toEqual(['change', 'command', 'file'])
})

test(
  'a reader who follows the guide ends with a committed migration, passing tests and passing checks',
  async () => {
    const firstTest = steps.find(step => step.kind === 'command' && step.command.startsWith('npm test'))
    for (const step of steps) {
      await follow(step)
      if (step === firstTest && step.kind === 'command') await breakOnce(step.command)
    }
    expect(firstTest).toBeDefined()
    expect(await readFile(join(copy.directory, 'schema.graphql'), 'utf8')).toContain('  setDealerType(')
    expect(copy.leftovers()).toEqual([])
  },
  5 * MINUTES,
)

test('the npm scripts that the guide names exist', async () => {
  const { scripts } = JSON.parse(await readFile(join(copy.directory, 'package.json'), 'utf8'))
  const named = [...guide.matchAll(/npm run ([\w:]+)/g)].map(([, name = '']) => name)
  expect(named.filter(name => !(name in scripts))).toEqual([])
})
