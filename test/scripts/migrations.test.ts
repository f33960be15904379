/** `npm run db:watch` and `npm run db:commit` on a copy of the project, with nothing set. */
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { argumentsOf } from '../../scripts/support/commands.ts'
import { until } from '../support/waits.ts'
import { copyProject, type ProjectCopy } from './projectCopy.ts'

const MINUTES = 60_000
const FIXTURE = 'migrations/fixtures/identity/half_a_dozen.sql'
const INCLUDE = "set local lock_timeout to '2s';\n\n--!include identity/half_a_dozen.sql\n"

let copy: ProjectCopy

beforeAll(() => {
  copy = copyProject()
})

afterAll(() => copy.remove())

const read = (path: string) => readFileSync(join(copy.directory, path), 'utf8')
const write = (path: string, text: string) => writeFileSync(join(copy.directory, path), text)
const committed = () => readdirSync(join(copy.directory, 'migrations/committed')).sort()

/** A function that can have an error in the second line of its body. */
function writeFixture(body: string): void {
  write(
    FIXTURE,
    `create or replace function app_private.half_a_dozen() returns integer
  language sql immutable security invoker
return ${body};

comment on function app_private.half_a_dozen() is 'Six.';
`,
  )
}

test(
  'db:watch applies each save, names the line of an error, and leaves nothing behind',
  async () => {
    const child = copy.start(process.execPath, argumentsOf('db:watch'))
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', text => (output += text))
    const ended = once(child, 'close')
    const says = (text: string) =>
      until(`${text} is printed, after:\n${output}`, () => output.includes(text), 120)

    await says('the snapshots are up to date')
    expect(output).toMatch(/psql postgres:\/\/\S+@127\.0\.0\.1:\d+\/forecourt/)
    writeFixture('no_such_function(6)')
    write('migrations/current.sql', INCLUDE)
    await says(`${FIXTURE}:3:8: `)
    expect(output).toContain('42883')
    writeFixture('6')
    await says('wrote schema.sql')
    expect(read('schema.sql')).toContain('app_private.half_a_dozen()')
    write(
      'migrations/fixtures/identity/lock_dealer.sql',
      `${read('migrations/fixtures/identity/lock_dealer.sql')}-- end\n`,
    )
    await says('migrations/fixtures/identity/lock_dealer.sql has changed')
    write('migrations/committed/999999-another.sql', '')
    await says('The migration is committed. Press Ctrl-C')
    rmSync(join(copy.directory, 'migrations/committed/999999-another.sql'))

    child.kill('SIGINT')
    expect((await ended)[0]).toBe(0)
    expect(copy.leftovers()).toEqual([])
  },
  5 * MINUTES,
)

test.each([
  ['without statements', '-- Enter migration here\n', 'db:commit -- six'],
  ['without a message', INCLUDE, 'db:commit'],
  ['that includes a file that does not exist', '--!include identity/none.sql\n', 'db:commit -- none'],
  ['that fails', `${INCLUDE}select no_such_column;\n`, 'db:commit -- six'],
  ['that fails when it runs again', 'create table app_public.twice (id int);\n', 'db:commit -- twice'],
])(
  'db:commit refuses a migration %s and changes no file',
  async (_name, text, command) => {
    write('migrations/current.sql', text)
    const before = [committed(), read('schema.sql')]
    const { status, output } = await copy.run(`npm run --silent ${command}`)
    expect(status).toBe(1)
    expect(output).toMatch(/^\S.*[.?")]$/m)
    expect(output).not.toMatch(/^\s+at /m)
    expect([committed(), read('schema.sql')]).toEqual(before)
    expect(read('migrations/current.sql')).toBe(text)
    expect(copy.leftovers()).toEqual([])
  },
  2 * MINUTES,
)

test(
  'db:commit takes the message from the header, and empties current.sql',
  async () => {
    const before = committed()
    write('migrations/current.sql', `--! Message: count to six\n\n${INCLUDE}`)
    const { status, output } = await copy.run('npm run --silent db:commit')
    expect([status, output]).toEqual([0, expect.stringContaining('count-to-six.sql')])
    const added = committed().filter(file => !before.includes(file))
    expect(added).toEqual([expect.stringMatching(/^\d{6}-count-to-six\.sql$/)])
    expect(read(`migrations/committed/${added[0]}`)).toContain(
      'create or replace function app_private.half_a_dozen()',
    )
    expect(read('migrations/current.sql')).toBe('-- Enter migration here\n')
    expect(copy.leftovers()).toEqual([])
  },
  2 * MINUTES,
)
