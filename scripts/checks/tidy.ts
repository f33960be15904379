/** Rules of style that no linter has: the length of files and functions, and the head of each SQL function. */
import { fixtures, sources } from '../support/sources.ts'

const MOST_LINES = { file: 300, function: 70 }
const SEARCH_PATH = 'set search_path to pg_catalog, app_public, app_private, pg_temp'
const SOURCES = ['{src,tasks,test,scripts,bench}/**/*.{ts,js,sql}', 'migrations/fixtures/**/*.sql', '*.js']

export async function tidy(): Promise<string[]> {
  const files = await sources(SOURCES)
  const tooLong = files
    .map(({ path, text }) => ({ path, lines: text.trimEnd().split('\n').length }))
    .filter(({ lines }) => lines > MOST_LINES.file)
    .map(({ path, lines }) => `${path}: ${lines} lines, at most ${MOST_LINES.file}`)
  const untidy = (await fixtures()).flatMap(({ path, name, text }) =>
    fixtureFaults(name, text).map(fault => `${path}: ${fault}`),
  )
  return [...tooLong, ...untidy]
}

function fixtureFaults(name: string, text: string): string[] {
  const created = [...text.matchAll(/^create (?:or replace )?([a-z ]+?) (?:\w+\.)?(\w+)/gm)]
  const [, kind, object] = created[0] ?? []
  if (created.length !== 1 || object !== name || !text.startsWith('create or replace ')) {
    return [`must begin with "create or replace", and create ${name} and nothing else`]
  }
  if (kind === 'view') {
    return /with \(security_invoker = (true|false)\)/.test(text) ? [] : ['must state security_invoker']
  }
  return functionFaults(text)
}

function functionFaults(text: string): string[] {
  // Postgres resolves the names in an unquoted body when it creates the function, so the search path does not matter
  const bound = !/^as \$/m.test(text)
  // the doctor's check `functions` asks that a CHECK calls it
  const inCheck = /^ {2}-- No search_path, .* only a CHECK calls it/m.test(text)
  const head = bound ? text : text.slice(0, text.search(/^as \$/m))
  const lines = text.slice(0, text.search(/^\$\w*\$;/m)).split('\n').length
  const required = [
    [/\blanguage (sql|plpgsql)\b/, 'must state its language'],
    [/\b(volatile|stable|immutable)\b/, 'must state its volatility'],
    [/\bsecurity (definer|invoker)\b/, 'must state security definer or invoker'],
    [bound || inCheck ? /^/ : new RegExp(`^ *${SEARCH_PATH}$`, 'm'), `must state "${SEARCH_PATH}"`],
  ] as const
  const faults: string[] = required.filter(([pattern]) => !pattern.test(head)).map(([, rule]) => rule)
  if (lines > MOST_LINES.function) faults.push(`${lines} lines, at most ${MOST_LINES.function} a function`)
  return faults
}
