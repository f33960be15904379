/** The check of docs/errors.md finds every way in which the page, the SQL and the TypeScript can disagree. */
import { expect, test } from '@jest/globals'
import { type Registry, readRegistry, registryFaults } from '../../scripts/checks/errorRegistry.ts'

const good = await readRegistry()

/** The page with the first row that begins like this changed. */
function withRow(start: string, change: (row: string) => string): Registry {
  const rows = good.page.split('\n')
  const index = rows.findIndex(row => row.startsWith(start))
  if (index < 0) throw new Error(`there is no row ${start}`)
  rows[index] = change(rows[index] ?? '')
  return { ...good, page: rows.join('\n') }
}

test('the registry of this project agrees', () => {
  expect(registryFaults(good)).toEqual([])
})

test.each<[string, Registry]>([
  ['SQL raises an SQLSTATE that TypeScript lacks', { ...good, raised: [...good.raised, 'FC099'] }],
  ['a code is raised nowhere', { ...good, typescript: [] }],
  ['a code has no row', withRow('| `conflict`', () => '')],
  ['a code has two rows', withRow('| `conflict`', row => `${row}\n${row}`)],
  [
    'a row has an unknown code',
    withRow('| `conflict`', row => `${row}\n${row.replace('conflict', 'clash')}`),
  ],
  ['a row has the wrong status', withRow('| `conflict`', row => row.replace('409', '422'))],
  ['a row has the wrong SQLSTATE', withRow('| `conflict`', row => row.replace('FC008', 'FC007'))],
  ['a row names the wrong source', withRow('| `conflict`', row => row.replace('| SQL', '| nobody'))],
  ['an SQLSTATE of Postgres is missing', withRow('| 57014', () => '')],
  ['an SQLSTATE of Postgres has two rows', withRow('| 57014', row => `${row}\n${row}`)],
  [
    'a division by zero is called invalid input',
    withRow('| 57014', row => `${row}\n| 22012 | \`invalid_input\` | 422 | |`),
  ],
  ['a row lacks one of two outcomes', withRow('| 23502', row => row.replace(', `internal_error`', ''))],
  ['a row has the wrong status of an SQLSTATE', withRow('| 23505', row => row.replace('409', '422'))],
  ['a class is missing', withRow('| 08xxx', row => row.replace(', 53xxx', ''))],
])('it is a fault when %s', (_name, registry) => {
  expect(registryFaults(registry)).not.toEqual([])
})
