/** The checks of migrations and of functions find the faults that they are for. */
import { createHash } from 'node:crypto'
import { expect, test } from '@jest/globals'
import { exposureFaults } from '../../scripts/checks/exposedFunctions.ts'
import { importFaults } from '../../scripts/checks/imports.ts'
import { chainFaults } from '../../scripts/checks/migrations.ts'
import { isBlank, messageOf } from '../../scripts/migrations/currentMigration.ts'
import { explainError, placeOf } from '../../scripts/migrations/explainError.ts'

function migration(number: number, body: string, previous = '-') {
  const text = `${`${previous === '-' ? '' : previous}\n${body}`.trim()}\n`
  const hash = `sha1:${createHash('sha1').update(text).digest('hex')}`
  const path = `migrations/committed/00000${number}-test.sql`
  return { hash, path, text: `--! Previous: ${previous}\n--! Hash: ${hash}\n--! Message: test\n\n${body}\n` }
}

const first = migration(1, 'select 1;')
const second = migration(2, '--! no-transaction\nselect 2;', first.hash)

test('a chain of unedited migrations has no fault', () => {
  expect(chainFaults([first, second])).toEqual([])
})

test.each([
  ['the text was edited', [{ ...first, text: first.text.replace('select 1', 'select 3') }, second]],
  ['the first is missing', [second]],
  ['the order was changed', [migration(1, 'select 2;'), migration(2, 'select 1;')]],
  ['a number is used twice', [first, migration(1, 'select 2;', first.hash)]],
  ['the header is missing', [{ ...first, text: 'select 1;\n' }]],
])('it is a fault when %s', (_name, migrations) => {
  expect(chainFaults(migrations)).not.toEqual([])
})

test.each([
  ['', true],
  ['-- Enter migration here\n', true],
  ['/* a note\n of two lines */ -- and more\n--! Message: nothing\n', true],
  ['select 1;', false],
  ['--!include identity/set_dealer_type.sql\n', false],
  ['-- a note\ndrop table x;', false],
])('only comments make %j blank', (text, blank) => {
  expect(isBlank({ text })).toBe(blank)
})

test('the message of a migration is in its header', () => {
  expect(messageOf('--! Message: index listings\n\nselect 1;')).toBe('index listings')
  expect(messageOf('select 1;')).toBeUndefined()
})

const COMPILED = `set local lock_timeout to '2s';
--! Included identity/one.sql
create one
line two
--! EndIncluded identity/one.sql
select 1;
`

test.each([
  ["'2s'", { path: 'migrations/current.sql', line: 1 }],
  ['create', { path: 'migrations/fixtures/identity/one.sql', line: 1 }],
  ['two', { path: 'migrations/fixtures/identity/one.sql', line: 2 }],
  ['select', { path: 'migrations/current.sql', line: 3 }],
])('the place of %s is found in the file where a person sees it', (word, place) => {
  expect(placeOf(COMPILED, COMPILED.indexOf(word) + 1)).toMatchObject(place)
})

test('a file of a current folder is named as well', () => {
  const compiled = '--! split: 1-a.sql\nselect 1;\n\n--! split: 2-b.sql\nselect 2;\nselect 3;\n'
  expect(placeOf(compiled, compiled.indexOf('select 3') + 1)).toMatchObject({
    path: 'migrations/current/2-b.sql',
    line: 2,
  })
})

test('an error of the database is explained with file, line, SQLSTATE and context', () => {
  const error = Object.assign(new Error('no such thing'), {
    severity: 'ERROR',
    code: '42P01',
    position: String(COMPILED.indexOf('two') + 1),
    where: 'PL/pgSQL function one()',
  })
  const text = explainError(error, COMPILED)
  expect(text).toContain('migrations/fixtures/identity/one.sql:2:6')
  expect(text).toContain('42P01')
  expect(text).toContain('PL/pgSQL function one()')
})

const api = { fields: new Set(['renameDealer', 'currentUser']), typescript: 'app_public.fresh_rows(' }
const described = {
  signature: 'app_public.rename_dealer()',
  name: 'rename_dealer',
  comment: '@behavior +mutationField\nRenames.',
  roles: ['forecourt_dealer'],
  used_by_policy: false,
}

test.each([
  ['a mutation that schema.graphql has', described],
  [
    'a query with another name',
    { ...described, comment: '@behavior +queryField\n@name currentUser\nThe user.' },
  ],
  ['a function that only the login of the API may execute', { ...described, comment: 'Begins.', roles: [] }],
  ['a helper of a policy', { ...described, comment: 'The user.', used_by_policy: true }],
  [
    'a function that TypeScript calls',
    { ...described, name: 'fresh_rows', comment: 'Not a field of GraphQL: x.' },
  ],
])('%s is no fault', (_name, row) => {
  expect(exposureFaults(row, api)).toEqual([])
})

test.each([
  ['a function without a behaviour', { ...described, comment: 'Renames.' }],
  ['a behaviour without its plus', { ...described, comment: '@behavior mutationField\nRenames.' }],
  ['a mutation that no role may execute', { ...described, name: 'unseen', roles: [] }],
  ['a function that nothing calls', { ...described, comment: 'Not a field of GraphQL: nothing calls it.' }],
])('%s is a fault', (_name, row) => {
  expect(exposureFaults(row, api)).toHaveLength(1)
})

const UPWARD = ['src/database/pool.ts imports src/http/slots.ts, which is in a higher layer']

test.each([
  "import { makeSlots } from '../http/slots.ts'",
  "import type { Slots } from '../http/slots.ts'",
  "import {\n  makeSlots,\n} from '../http/slots.ts'",
  "import '../http/slots.ts'",
  "export * from '../http/slots.ts'",
  "await import('../http/slots.ts')",
  "await import(\n  '../http/slots.ts'\n)",
  'await import(`../http/slots.ts`)',
])('an import of a higher layer is a fault: %j', text => {
  expect(importFaults([{ path: 'src/database/pool.ts', text }])).toEqual(UPWARD)
})

test('a circle of imports is a fault, and so is a file in no layer', () => {
  const files = ['app', 'body', 'slots'].map((name, index, names) => ({
    path: `src/http/${name}.ts`,
    text: `import './${names[(index + 1) % names.length]}.ts'`,
  }))
  expect(importFaults(files)).toEqual([
    'src/http/app.ts → src/http/body.ts → src/http/slots.ts → src/http/app.ts',
  ])
  expect(importFaults([{ path: 'src/odd.ts', text: '' }])).toEqual(['src/odd.ts is in no layer'])
})
