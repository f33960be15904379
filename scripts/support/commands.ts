/** The scripts of package.json, for tests and benchmarks that start one without npm. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The paths in the scripts are relative to this directory. */
export const projectDirectory = fileURLToPath(new URL('../..', import.meta.url))

const { scripts }: { scripts: Record<string, string> } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
)

/** The arguments that `npm run <name>` gives to Node. Run them in the project's directory. */
export function argumentsOf(name: string): string[] {
  const [program, ...args] = scripts[name]?.split(' ') ?? []
  if (program !== 'node') throw new Error(`npm run ${name} does not start Node`)
  return args
}
