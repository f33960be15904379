/** The recipes for typed operations: the generators run, the files pass the strict checks of TypeScript, and scalars have their types. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { buildSchema, isScalarType, isSpecifiedScalarType } from 'graphql'
import { projectDirectory } from '../../scripts/support/commands.ts'
import { runScript } from '../support/shell.ts'
import { type Recipes, writeRecipes } from './recipes.ts'

/** The types that the recipes must give. A type that differs, such as `any`, does not compile. */
const EXPECTED = `
import type { VariablesOf } from 'gql.tada'
import type { NewestListingsQueryVariables } from './gql/graphql.ts'
import type { Listing } from './listings.ts'
import type { Invoice, Invoices } from './tadaInvoices.ts'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const isEqual = <A, B>(..._: Equal<A, B> extends true ? [] : [never]): void => {}

isEqual<Listing['id'], string>()
isEqual<Listing['price'], string>()
isEqual<Listing['publishedAt'], string | null>()
isEqual<Listing['attributes'], unknown>()
isEqual<Listing['status'] extends string ? true : false, true>()
isEqual<NewestListingsQueryVariables['country'], string>()
isEqual<Invoice['grossTotal'], string>()
isEqual<Invoice['paidAt'], string | null>()
isEqual<Invoice['periodStart'], string | null>()
isEqual<VariablesOf<typeof Invoices>, { dealerId: string }>()
`

let recipes: Recipes
const run = (command: string) => runScript(`PATH=node_modules/.bin:$PATH ${command}`, {}, recipes.directory)

beforeAll(async () => {
  recipes = await writeRecipes()
  await writeFile(join(recipes.directory, 'expected.ts'), EXPECTED)
  const configuration = { extends: join(projectDirectory, 'tsconfig.json'), include: ['*.ts'] }
  await writeFile(join(recipes.directory, 'tsconfig.json'), JSON.stringify(configuration))
})

afterAll(() => recipes.remove())

test('the generated types and all recipes pass the checks of TypeScript', async () => {
  const ended = await Promise.all([run('graphql-codegen --config codegen.ts'), run('node introspect.mjs')])
  for (const { status, output } of ended) expect([status, output]).toEqual([0, expect.any(String)])
  expect(await run('tsc -p .')).toEqual({ status: 0, output: '' })
})

test.each(['codegen.ts', 'tada.ts', 'the table'])('%s lists every scalar of the schema', async place => {
  const schema = buildSchema(await readFile(join(recipes.directory, 'schema.graphql'), 'utf8'))
  const scalars = Object.values(schema.getTypeMap()).filter(
    type => isScalarType(type) && !isSpecifiedScalarType(type),
  )
  const isTable = place === 'the table'
  const text = await readFile(
    join(isTable ? projectDirectory : recipes.directory, isTable ? 'docs/clients.md' : place),
    'utf8',
  )
  const listed = [...text.matchAll(isTable ? /^\| `(\w+)` .*`(\w+)` +\|$/gm : /(\w+): '?(string|unknown)\b/g)]
  expect(listed.map(([, name, type]) => [name, type]).sort()).toEqual(
    scalars.map(({ name }) => [name, name === 'JSON' ? 'unknown' : 'string']).sort(),
  )
})
