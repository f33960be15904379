/** The Node that a machine needs is the same in README, CONTRIBUTING, package.json and package-lock.json. */
import { readFile } from 'node:fs/promises'
import { expect, test } from '@jest/globals'
import { enginesFaults, withoutNewerEngines } from '../../scripts/checks/engines.ts'

const lockfile = await readFile('package-lock.json', 'utf8')
const withEngines = (...ranges: string[]) =>
  JSON.stringify({
    packages: Object.fromEntries(
      ranges.map((node, index) => [`node_modules/${index}`, { engines: { node } }]),
    ),
  })

test('npm ci on Node 20 warns about no package', () => {
  expect(enginesFaults(lockfile)).toEqual([])
})

test('engines that Node 20 lacks are found and taken out, and others stay', () => {
  const newer = ['>=22', '>=22.18.0', '^26 || ^24 || ^22', '18 || 22']
  const older = ['>=20', '20 || >=22', '^18.14.0 || ^20.0.0 || >=24.0.0', '>= 0.8', '*']
  expect(enginesFaults(withEngines(...newer))).toHaveLength(newer.length)
  expect(enginesFaults(withEngines(...older))).toEqual([])
  const cleaned = withoutNewerEngines(withEngines(...newer, ...older))
  expect(enginesFaults(cleaned)).toEqual([])
  expect(JSON.parse(cleaned).packages['node_modules/4']).toEqual({ engines: { node: '>=20' } })
})

test('README and CONTRIBUTING name the Node of engines', async () => {
  const { engines } = JSON.parse(await readFile('package.json', 'utf8'))
  expect(engines.node).toMatch(/^>=\d+$/)
  const named = `Node ${engines.node.slice(2)} or newer`
  for (const file of ['README.md', 'CONTRIBUTING.md']) expect(await readFile(file, 'utf8')).toContain(named)
})
