/** The remedy of a difference: SQL to run if there is such, otherwise the lines of schema.sql to look at. */
import type { Part } from './parts.ts'

/** A name with a space is quoted. */
const TO_ROLE = / to ((?:"(?:[^"]|"")*"|[^\s"]+))$/

export function remedyForMissing(part: Part, expected: readonly Part[]): string {
  if (part.kind !== 'function') return creation(part) ?? lines(part)
  // its grants and comments follow it, and are missing too
  const lastLines = expected.filter(({ object }) => object === part.object).map(({ lastLine }) => lastLine)
  return `run lines ${part.line} to ${Math.max(...lastLines)} of schema.sql`
}

export function remedyForDifferent(expected: Part): string {
  const create = creation(expected)
  if (expected.kind === 'function' || create === undefined) return create ?? lines(expected)
  if (expected.kind === 'constraint') {
    const { object, name, definition } = expected
    return `alter table ${object} drop constraint ${name}, add constraint ${name} ${definition}`
  }
  if (expected.kind === 'grant') {
    // revoking the grant of the whole table also revokes the grants of its columns
    const whole = expected.definition.replace(/(?<=^grant \w+ )\(.*?\) /, '')
    return `${removal({ ...expected, definition: whole })}; ${create}`
  }
  return [removal(expected), create].filter(Boolean).join('; ')
}

export function remedyForAdditional(part: Part): string {
  return removal(part) ?? 'remove it, or make it part of a migration'
}

function creation(part: Part): string | undefined {
  const { kind, object, name, definition } = part
  switch (kind) {
    case 'index':
      return concurrently(definition)
    case 'constraint':
      return `alter table ${object} add constraint ${name} ${definition}`
    case 'policy':
      return definition.replace(/(?<= to | to .*, )owner(?=,| using| with check|$)/, 'current_user')
    case 'trigger':
    case 'grant':
      return definition
    case 'storage parameters':
      return `alter table ${object} set (${definition})`
    case 'function':
    case 'comment':
      return `run lines ${part.line} to ${part.lastLine} of schema.sql`
    default:
      return undefined
  }
}

function removal({ kind, object, name, definition }: Part): string | undefined {
  switch (kind) {
    case 'index':
      return `drop index ${isPartitioned(definition) ? '' : 'concurrently '}${schemaOf(object)}.${name}`
    case 'constraint':
      return `alter table ${object} drop constraint ${name}`
    case 'policy':
    case 'trigger':
    case 'rule':
      return `drop ${kind} ${name} on ${object}`
    case 'grant':
      return definition
        .replace(/^grant/, 'revoke')
        .replace(/ with grant option$/, '')
        .replace(TO_ROLE, ' from $1')
    case 'owner':
      return `as a superuser: ${definition.replace(TO_ROLE, ' to')} the owner of its schema`
    default:
      return undefined
  }
}

function lines({ line, lastLine }: Part): string {
  return line === lastLine
    ? `see line ${line} of schema.sql`
    : `see lines ${line} to ${lastLine} of schema.sql`
}

/** Postgres neither builds nor drops an index of a partitioned table concurrently. */
function concurrently(definition: string): string {
  if (isPartitioned(definition)) return definition.replace(' ON ONLY ', ' ON ')
  return definition.replace(' INDEX ', ' INDEX CONCURRENTLY ')
}

function isPartitioned(index: string): boolean {
  return index.includes(' ON ONLY ')
}

function schemaOf(object: string): string {
  return object.replace(/\.(?:"(?:[^"]|"")*"|[^".]+)$/, '')
}
