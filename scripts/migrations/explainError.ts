/** Explains an error of a migration: the file and the line that a person can open, and the message of Postgres. */

export type Place = { path: string; line: number; column: number; text: string }

type DatabaseError = {
  code: string
  message: string
  position?: string
  detail?: string
  hint?: string
  where?: string
}

/**
 * Finds the file and line behind a position in a compiled migration. graphile-migrate keeps the name of an included
 * fixture in comments, so the lines since the last such comment can be counted.
 */
export function placeOf(compiled: string, position: number): Place {
  const before = compiled.slice(0, position).split('\n')
  const column = before.at(-1)?.length ?? 0
  const files = [{ path: 'migrations/current.sql', line: 0 }]
  for (const text of before) {
    const [, mark, name = ''] = /^--! (Included|EndIncluded|split:) (\S+)$/.exec(text) ?? []
    if (mark === 'EndIncluded') {
      files.pop()
    } else if (mark === 'split:') {
      files.splice(0, files.length, { path: `migrations/current/${name}`, line: 0 })
    } else {
      const file = files.at(-1)
      if (file) file.line++
      if (mark === 'Included') files.push({ path: `migrations/fixtures/${name}`, line: 0 })
    }
  }
  const { path, line } = files.at(-1) ?? { path: 'migrations/current.sql', line: 0 }
  return { path, line, column, text: compiled.split('\n')[before.length - 1] ?? '' }
}

/** `compiled` is the text that was run when the error came. */
export function explainError(error: unknown, compiled: string): string {
  if (!isDatabaseError(error)) return error instanceof Error ? error.message : String(error)
  const { code, message, detail, hint, where, position } = error
  const facts = Object.entries({ Detail: detail, Hint: hint, Context: where }).flatMap(([name, text]) =>
    text === undefined ? [] : [`  ${name}: ${text.replaceAll('\n', '\n    ')}`],
  )
  const sentence = `${message} (SQLSTATE ${code})`
  if (position === undefined) return [`migrations/current.sql: ${sentence}`, ...facts].join('\n')
  const { path, line, column, text } = placeOf(compiled, Number(position))
  const quote = [`  ${text}`, `  ${' '.repeat(Math.max(column - 1, 0))}^`]
  return [`${path}:${line}:${column}: ${sentence}`, ...quote, ...facts].join('\n')
}

function isDatabaseError(error: unknown): error is DatabaseError {
  return error instanceof Error && 'code' in error && 'severity' in error
}
