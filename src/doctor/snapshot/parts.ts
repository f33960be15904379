/** The parts of a snapshot: each column, index, grant and so on under its name, so that two snapshots can be compared. */
import { type Statement, splitOutsideUnits, statementsOf } from './statements.ts'

export type Kind =
  | 'default privileges'
  | 'extension'
  | 'schema'
  | 'type'
  | 'sequence'
  | 'table'
  | 'storage parameters'
  | 'column'
  | 'order of columns'
  | 'constraint'
  | 'view'
  | 'function'
  | 'index'
  | 'trigger'
  | 'rule'
  | 'policy'
  | 'grant'
  | 'owner'
  | 'comment'

export type Part = {
  kind: Kind
  name: string
  /** The table, function and so on that it belongs to, or that it is; functions without their parameters. */
  object: string
  definition: string
  /** The definition without its expressions, which each major version of Postgres may print in its own way. */
  reduced: string
  line: number
  lastLine: number
}

type Form = { pattern: RegExp; kind: Kind; reduce?: (definition: string) => string }

const NAME = String.raw`(?:"(?:[^"]|"")*"|[^\s".(,;]+)`
const QUALIFIED = `${NAME}(?:\\.${NAME})?`
const pattern = (source: string) =>
  new RegExp(`^${source.replaceAll('NAME', NAME).replaceAll('OBJECT', QUALIFIED)}`)

const unchanged = (definition: string) => definition
const upTo = (end: RegExp) => (definition: string) => definition.replace(end, '')

/** Statements that are one part each. The pattern names its `object`, and a `name` where the part is not the object itself. */
const FORMS: Form[] = [
  {
    pattern: pattern('-- default privileges of (?<name>.+?): (?<object>)'),
    kind: 'default privileges',
  },
  { pattern: pattern('create extension (?<object>NAME)'), kind: 'extension' },
  { pattern: pattern('create schema (?<object>NAME)'), kind: 'schema' },
  { pattern: pattern('create type (?<object>OBJECT)'), kind: 'type' },
  {
    pattern: pattern('create domain (?<object>OBJECT)'),
    kind: 'type',
    reduce: upTo(/ (?:default|constraint) [\s\S]*/),
  },
  { pattern: pattern('create sequence (?<object>OBJECT)'), kind: 'sequence' },
  {
    pattern: pattern('create (?:materialized )?view (?<object>OBJECT)'),
    kind: 'view',
    reduce: upTo(/ as\n[\s\S]*/),
  },
  {
    pattern: pattern(
      'CREATE OR REPLACE (?:FUNCTION|PROCEDURE) (?<name>(?<object>OBJECT)\\([\\s\\S]*?\\))(?=\n (?:RETURNS|LANGUAGE) )',
    ),
    kind: 'function',
    // a quoted body is kept as it was written
    reduce: definition =>
      /\nAS \$/.test(definition) ? definition : upTo(/\n(?:BEGIN ATOMIC|RETURN )[\s\S]*/)(definition),
  },
  {
    pattern: pattern('CREATE (?:UNIQUE )?INDEX (?<name>NAME) ON (?:ONLY )?(?<object>OBJECT)'),
    kind: 'index',
    reduce: upTo(/ USING [\s\S]*/),
  },
  {
    pattern: pattern('CREATE (?:CONSTRAINT )?TRIGGER (?<name>NAME) [\\s\\S]*? ON (?<object>OBJECT)'),
    kind: 'trigger',
    reduce: upTo(/ WHEN \([\s\S]*\)(?= EXECUTE )/),
  },
  { pattern: pattern('CREATE RULE (?<name>NAME) AS\\s+ON \\w+ TO (?<object>OBJECT)'), kind: 'rule' },
  {
    pattern: pattern('create policy (?<name>NAME) on (?<object>OBJECT)'),
    kind: 'policy',
    reduce: upTo(/ (?:using|with check) \([\s\S]*/),
  },
  { pattern: pattern('(?<name>grant .* on \\w+ (?<object>OBJECT).* to .*)$'), kind: 'grant' },
  { pattern: pattern('alter \\w+ (?<name>(?<object>OBJECT).*) owner to .*$'), kind: 'owner' },
  {
    pattern: pattern("comment on (?<name>(?:\\w+ NAME on )?(?:\\w+ )?(?<object>OBJECT).*?) is (?=E?')"),
    kind: 'comment',
  },
]

/**
 * Parts that a check of their own examines, which also knows the remedy: roles and memberships (`roles.sql`), row security
 * (`row_security.sql`).
 */
const ELSEWHERE = /^(?:create role |grant \S+ to |alter table \S+ (?:enable|force) row level security)/

/** The same for triggers that are off and constraints that were not validated (`constraints.sql`). */
const STATE = / (?:NOT VALID|\/\* enabled: . \*\/)$/

/** A grant keeps its name when its columns change. */
const GRANTED_COLUMNS = /(?<=^grant \w+ )\(.*?\) /

/** The parts of a snapshot by a key that is the same in another snapshot. */
export function partsOf(snapshot: string): Map<string, Part> {
  const parts = statementsOf(snapshot)
    .filter(({ text }) => !ELSEWHERE.test(text))
    .flatMap(statement => tableParts(statement) ?? [singlePart(statement)])
  return new Map(parts.map(part => [`${part.kind} ${part.name} ${part.object}`, part]))
}

function singlePart({ text, line, lastLine }: Statement): Part {
  for (const { pattern, kind, reduce = unchanged } of FORMS) {
    const groups = pattern.exec(text)?.groups
    if (groups === undefined) continue
    const { object = '' } = groups
    const name = (groups.name ?? object).replace(GRANTED_COLUMNS, '(some columns) ')
    const definition = text.replace(STATE, '')
    return { kind, name, object, definition, reduced: reduce(definition), line, lastLine }
  }
  throw new Error(`A statement of the snapshot has no known form: ${text.slice(0, 80)}`)
}

const TABLE = pattern('create (?<persistence>unlogged )?table (?<object>OBJECT) \\(\n')
const TABLE_END = /\n\)(?<partitioning> partition by .*?)?(?: with \((?<storage>.*)\))?$/

/** The table itself, its columns, its constraints and how it is stored; undefined for another statement. */
function tableParts({ text, line, lastLine }: Statement): Part[] | undefined {
  const head = TABLE.exec(text)
  const tail = TABLE_END.exec(text)
  if (!head?.groups || !tail?.groups) return undefined
  const { persistence = '', object = '' } = head.groups
  const { partitioning = '', storage } = tail.groups
  const place = { object, line, lastLine }
  const whole = (kind: Kind, definition: string): Part => ({
    ...place,
    kind,
    name: object,
    definition,
    reduced: definition,
  })
  const members = splitOutsideUnits(text.slice(head[0].length, tail.index), ',\n').map(
    ({ piece, offset }) => {
      const memberLine = line + text.slice(0, head[0].length + offset).split('\n').length - 1
      return memberPart(piece.trim(), { object, line: memberLine, lastLine: memberLine })
    },
  )
  const columns = members.filter(({ kind }) => kind === 'column').map(({ name }) => name)
  return [
    whole('table', `${persistence}table${partitioning}`),
    whole('order of columns', columns.join(', ')),
    ...(storage === undefined ? [] : [whole('storage parameters', storage)]),
    ...members,
  ]
}

const CONSTRAINT = pattern('constraint (?<name>NAME) ')
const COLUMN = pattern('(?<name>NAME) ')

function memberPart(text: string, place: Pick<Part, 'object' | 'line' | 'lastLine'>): Part {
  const constraint = CONSTRAINT.exec(text)
  const [head = '', name = ''] = constraint ?? COLUMN.exec(text) ?? []
  const definition = text.slice(head.length).replace(STATE, '')
  return constraint
    ? { ...place, kind: 'constraint', name, definition, reduced: upTo(/(?<=^CHECK) [\s\S]*/)(definition) }
    : {
        ...place,
        kind: 'column',
        name,
        definition,
        reduced: upTo(/ (?:default|generated always as \() [\s\S]*?(?= not null$|$)/)(definition),
      }
}
