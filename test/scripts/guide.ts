/** The fenced blocks of a guide that a reader applies: files to write, changes to make, commands to run. */

export type Step =
  | { kind: 'file'; path: string; text: string }
  | { kind: 'change'; path: string; before: string; after: string }
  | { kind: 'command'; command: string }

/**
 * A block with a path behind its language is a file. With the language `diff` it is a change of that file: lines with a plus
 * are added between the others, which the file must have. `sh run` is a command a line; other blocks are only read.
 */
export function stepsOf(guide: string): Step[] {
  const blocks = guide.matchAll(/^```(\w+) (\S+)\n([\s\S]*?)^```$/gm)
  return [...blocks].flatMap(([, language, path = '', text = '']): Step[] => {
    if (language === 'sh') {
      return text
        .trim()
        .split('\n')
        .map(command => ({ kind: 'command', command }))
    }
    if (language !== 'diff') return [{ kind: 'file', path, text }]
    const lines = text.split('\n').slice(0, -1)
    const without = (sign: string) =>
      lines.filter(line => !line.startsWith(sign)).map(line => `${line.slice(1)}\n`)
    return [{ kind: 'change', path, before: without('+').join(''), after: without('-').join('') }]
  })
}

/** Applies a change to the first place that has its lines. In the CHANGELOG that is the unreleased version. */
export function applyChange(
  text: string,
  { path, before, after }: Extract<Step, { kind: 'change' }>,
): string {
  if (!text.includes(before)) throw new Error(`${path} does not have these lines:\n${before}`)
  return text.replace(before, () => after)
}

export type Block = { language: string; tag: string; text: string }

/** The fenced blocks of a section, in their order. The tag stands behind the language. */
export function blocksOf(guide: string, heading: string): Block[] {
  const found = new RegExp(`^(#+) ${heading}\n([\\s\\S]*)`, 'm').exec(guide)
  if (found === null) throw new Error(`there is no heading "${heading}"`)
  const [, level = '', rest = ''] = found
  const [section = ''] = rest.split(new RegExp(`^#{1,${level.length}} `, 'm'))
  return [...section.matchAll(/^```(\w+) ?(\S*)\n([\s\S]*?)^```$/gm)].map(
    ([, language = '', tag = '', text = '']) => ({ language, tag, text }),
  )
}

/** The dates of examples lie in the next year, whenever the test runs. */
export function inNextYear(guide: string): string {
  return guide.replaceAll(/\b2027-/g, `${new Date().getUTCFullYear() + 1}-`)
}
