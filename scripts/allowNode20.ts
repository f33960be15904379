/** A part of `npm run fix`: takes the engines that Node 20 lacks out of package-lock.json. */
import { readFile, writeFile } from 'node:fs/promises'
import { LOCKFILE, withoutNewerEngines } from './checks/engines.ts'

const lockfile = await readFile(LOCKFILE, 'utf8')
const allowed = withoutNewerEngines(lockfile)
if (allowed !== lockfile) await writeFile(LOCKFILE, allowed)
