/** How a database differs from the snapshot of this build: one finding for each difference. */
import type { Finding } from '../finding.ts'
import { type Kind, type Part, partsOf } from './parts.ts'
import { remedyForAdditional, remedyForDifferent, remedyForMissing } from './remedies.ts'

type Verdict = Finding['verdict']

/** A definition that is longer does not fit on the line of a finding. */
const LONGEST_SHOWN = 120

/** The verdict on a part that is in the database alone. Whatever can weaken or change a rule of ours is a failure. */
const ADDITIONAL: Record<Exclude<Kind, 'grant' | 'index' | 'function'>, Verdict> = {
  'default privileges': 'FAIL',
  extension: 'note',
  schema: 'note',
  type: 'note',
  sequence: 'note',
  table: 'note',
  view: 'note',
  'storage parameters': 'note',
  'order of columns': 'note',
  // functions write whole rows, and a grant of the whole table covers the new column
  column: 'FAIL',
  // refuses rows that our functions rely upon to write
  constraint: 'WARN',
  trigger: 'FAIL',
  rule: 'FAIL',
  policy: 'FAIL',
  owner: 'FAIL',
  comment: 'note',
}

/** Parts without which the system is only slower. */
const TUNING: ReadonlySet<Kind> = new Set(['storage parameters'])

/** Parts of which an object consists; when it is missing or additional as a whole, they are not named one by one. */
const OBJECTS: ReadonlySet<Kind> = new Set(['type', 'sequence', 'table', 'view', 'function'])

export type Comparison = {
  /** Texts by `describeSchema`. */
  expected: string
  actual: string
  /** Whether both were read from the same major version of Postgres, which prints expressions in the same way. */
  sameMajor: boolean
  /** The roles of the API, `public` included. */
  apiRoles: readonly string[]
}

/** The worst first. */
export function differences(comparison: Comparison): Finding[] {
  const expected = partsOf(comparison.expected)
  const actual = partsOf(comparison.actual)
  const missing = partsWithout(expected, actual)
  const additional = partsWithout(actual, expected)
  const changed = [...expected].flatMap(([key, before]) => {
    const after = actual.get(key)
    return after === undefined || isSame(before, after) ? [] : [{ before, after }]
  })
  const isPlain = (part: Part) => part.kind === 'comment' && !isInstruction(part)
  const comments = [...missing, ...additional, ...changed.map(({ before }) => before)].filter(isPlain)
  const findings = [
    ...missing.filter(part => !isPlain(part)).map(part => missingFinding(part, expected)),
    ...changed
      .filter(({ before, after }) => !isPlain(before) || !isPlain(after))
      .map(({ before, after }) => changedFinding(before, after, comparison.sameMajor)),
    ...additional.filter(part => !isPlain(part)).map(part => additionalFinding(part, expected, comparison)),
    ...commentsFinding(comments),
  ]
  const rank = { FAIL: 0, WARN: 1, note: 2 }
  return findings.sort((a, b) => rank[a.verdict] - rank[b.verdict])
}

/** Columns that only one of the two has are differences of their own. */
function isSame(before: Part, after: Part): boolean {
  if (before.kind !== 'order of columns') return before.definition === after.definition
  const [columns, others] = [before, after].map(({ definition }) => definition.split(', '))
  const common = (names: string[] = [], rest: string[] = []) =>
    names.filter(name => rest.includes(name)).join()
  return common(columns, others) === common(others, columns)
}

/** The parts of `one` that `other` lacks; of an object that it lacks as a whole, the object and its grants alone. */
function partsWithout(one: ReadonlyMap<string, Part>, other: ReadonlyMap<string, Part>): Part[] {
  const objects = (parts: ReadonlyMap<string, Part>) =>
    new Set([...parts.values()].filter(({ kind }) => OBJECTS.has(kind)).map(({ object }) => object))
  const known = objects(other)
  const whole = new Set([...objects(one)].filter(object => !known.has(object)))
  return [...one]
    .filter(
      ([key, part]) =>
        !other.has(key) && (!whole.has(part.object) || OBJECTS.has(part.kind) || part.kind === 'grant'),
    )
    .map(([, part]) => part)
}

function missingFinding(part: Part, expected: ReadonlyMap<string, Part>): Finding {
  const verdict = TUNING.has(part.kind) || part.kind === 'comment' ? 'WARN' : 'FAIL'
  return {
    verdict,
    finding: `${label(part)} ${verb(part)} missing`,
    remedy: remedyForMissing(part, [...expected.values()]),
  }
}

function changedFinding(before: Part, after: Part, sameMajor: boolean): Finding {
  const isSure = sameMajor || before.reduced !== after.reduced
  const isWeak = TUNING.has(before.kind) || before.kind === 'comment' || !isSure
  const shown = [before, after].every(({ definition }) => isShort(definition))
    ? `${label(before)} ${verb(before)} "${after.definition}" instead of "${before.definition}"`
    : `${label(before)} ${changeOf(before, after)}`
  return {
    verdict: isWeak ? 'WARN' : 'FAIL',
    finding: isSure ? shown : `${shown}, unless only this version of Postgres prints it so`,
    remedy: remedyForDifferent(before),
  }
}

function isShort(definition: string): boolean {
  return definition.length <= LONGEST_SHOWN && !definition.includes('\n')
}

const BODY = /\n(?:AS \$|BEGIN ATOMIC|RETURN )[\s\S]*/

function changeOf(before: Part, after: Part): string {
  if (before.kind !== 'function') return 'has another definition'
  const [head, other] = [before, after].map(({ definition }) => definition.replace(BODY, ''))
  return head === other ? 'has another body' : 'has other attributes'
}

function additionalFinding(
  part: Part,
  expected: ReadonlyMap<string, Part>,
  { apiRoles }: Comparison,
): Finding {
  return {
    verdict: additionalVerdict(part, expected, apiRoles),
    finding: `${label(part)} ${verb(part)} in the database alone`,
    remedy: remedyForAdditional(part),
  }
}

function additionalVerdict(
  part: Part,
  expected: ReadonlyMap<string, Part>,
  apiRoles: readonly string[],
): Verdict {
  const { kind, object, definition } = part
  const isOurs = [...expected.values()].some(other => OBJECTS.has(other.kind) && other.object === object)
  switch (kind) {
    case 'grant':
      return apiRoles.includes(/ to (\S+)/.exec(definition)?.[1] ?? '') ? 'FAIL' : 'note'
    case 'index':
      // a unique one refuses rows
      return definition.startsWith('CREATE UNIQUE ') ? 'WARN' : 'note'
    case 'function':
      // calls of ours may choose it
      return isOurs ? 'WARN' : 'note'
    case 'comment':
      return 'WARN'
    default:
      return ADDITIONAL[kind]
  }
}

/** PostGraphile reads the comment: it decides what the API offers, or which message a client gets. */
function isInstruction({ definition }: Part): boolean {
  return / is E?'@/.test(definition)
}

function commentsFinding(comments: Part[]): Finding[] {
  const [first] = comments
  if (first === undefined) return []
  const finding = `${comments.length} comments differ, such as that on ${first.name}`
  return [
    { verdict: 'note', finding, remedy: 'no function depends on them; schema.sql has those of this build' },
  ]
}

function label({ kind, name, object }: Part): string {
  switch (kind) {
    case 'column':
      return `the column ${object}.${name}`
    case 'order of columns':
    case 'storage parameters':
      return `the ${kind} of ${object}`
    case 'constraint':
    case 'index':
    case 'trigger':
    case 'rule':
    case 'policy':
      return `the ${kind} ${name} on ${object}`
    case 'owner':
      return `another owner of ${name}`
    case 'default privileges':
      return `the default privileges of ${name}`
    case 'comment':
      return `the instruction to the API on ${name}`
    case 'grant':
      return `the ${name}`
    default:
      return `the ${kind} ${name}`
  }
}

function verb({ kind }: Part): 'is' | 'are' {
  return kind === 'storage parameters' || kind === 'default privileges' ? 'are' : 'is'
}
