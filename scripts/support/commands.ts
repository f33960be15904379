/** The commands of package.json, for whoever starts one without npm in between, and means the same. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** They name files from here. */
export const projectDirectory = fileURLToPath(new URL('../..', import.meta.url))

const { scripts }: { scripts: Record<string, string> } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
)

/** What `npm run <name>` starts: arguments of Node, to be run in the project's directory. */
export function argumentsOf(name: string): string[] {
  const [program, ...args] = scripts[name]?.split(' ') ?? []
  if (program !== 'node') throw new Error(`npm run ${name} does not start Node`)
  return args
}
