/**
 * `npm ci` on Node 20 must not warn about engines: the package `node` brings Node 24, which runs every script. npm compares
 * the engines of each package in package-lock.json with the Node that runs npm, and knows no exception. So the lockfile leaves
 * out the engines that Node 20 lacks.
 */
import { readFile } from 'node:fs/promises'

export const LOCKFILE = 'package-lock.json'
/** The oldest Node that may run npm, as the README and package.json say. */
const OLDEST_NODE = 20

type Lockfile = { packages: Record<string, { engines?: { node?: string } }> }

export async function enginesAllowNode20(): Promise<string[]> {
  return enginesFaults(await readFile(LOCKFILE, 'utf8'))
}

export function enginesFaults(lockfile: string): string[] {
  return Object.entries((JSON.parse(lockfile) as Lockfile).packages)
    .filter(([, { engines }]) => !allows(engines?.node))
    .map(([path, { engines }]) => `${path || 'this package'} needs Node ${engines?.node}: run npm run fix`)
}

/** The lockfile without those engines. */
export function withoutNewerEngines(lockfile: string): string {
  const lock = JSON.parse(lockfile) as Lockfile
  for (const entry of Object.values(lock.packages)) if (!allows(entry.engines?.node)) delete entry.engines
  return `${JSON.stringify(lock, null, 2)}\n`
}

/** Whether one of the alternatives of a range, such as `^18.14.0 || >=20`, admits the oldest Node. */
function allows(range = '*'): boolean {
  return range.split('||').some(alternative => {
    const [, operator = '', major] = /^\s*([<>=^~]*)\s*v?(\d+)/.exec(alternative) ?? []
    if (major === undefined) return true
    return operator.startsWith('>') ? Number(major) <= OLDEST_NODE : Number(major) === OLDEST_NODE
  })
}
