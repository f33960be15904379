/**
 * How many rows a document may return with its variables, by the conventions of connections and without the schema.
 *
 * - `nodes` and `edges` return a page each, as large as `first` or `last` of the field around them says.
 * - Page sizes multiply along a path. Paths and aliases add up.
 * - `totalCount` counts as TOTAL_COUNT_ROWS, and any other field as nothing.
 *
 * The rows of a fragment depend on the page size at its spread, so they are kept as a linear function of it. Each fragment is
 * computed once, however often it is spread.
 */
import {
  type DirectiveNode,
  type DocumentNode,
  type FieldNode,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
  type ValueNode,
  valueFromASTUntyped,
} from 'grafast/graphql'
import { type Fragments, fragmentResult, fragmentsOf, hasCountedFields } from './documentLimits.ts'

/** Rows of a page: the default, and the most that a client may ask for. */
export const pageRows = { default: 20, maximum: 100 } as const

const TOTAL_COUNT_ROWS = 10
/** Far beyond the limit. Counts stop here, so they stay finite. */
const MANY = 1e9

export type Variables = Readonly<Record<string, unknown>>

/** `each`: rows for each row of the page around the selection. `once`: rows that do not depend on that page. */
type Rows = Readonly<{ each: number; once: number }>

type Walk = {
  fragments: Fragments<Rows>
  variables: Variables
  /** Default values of the operation's variables. */
  defaults: ReadonlyMap<string, ValueNode>
  usesVariables: boolean
}

const NONE: Rows = { each: 0, once: 0 }

/** The rows of an operation as a function of its variables. Computed once if they depend on no variable. */
export function rowCounter(
  document: DocumentNode,
  operation: OperationDefinitionNode,
): (variables: Variables) => number {
  const defaults = new Map<string, ValueNode>()
  for (const { variable, defaultValue } of operation.variableDefinitions ?? []) {
    if (defaultValue) defaults.set(variable.name.value, defaultValue)
  }
  let known: number | undefined
  return variables => {
    if (known !== undefined) return known
    const walk: Walk = { fragments: fragmentsOf(document), variables, defaults, usesVariables: false }
    const rows = atPage(rowsOf(operation.selectionSet, walk), pageRows.default)
    if (!walk.usesVariables) known = rows
    return rows
  }
}

function rowsOf(set: SelectionSetNode, walk: Walk): Rows {
  return set.selections.map(selection => selectionRows(selection, walk)).reduce(plus, NONE)
}

function selectionRows(selection: SelectionNode, walk: Walk): Rows {
  if (isLeftOut(selection.directives, walk)) return NONE
  switch (selection.kind) {
    case Kind.FIELD:
      return fieldRows(selection, walk)
    case Kind.INLINE_FRAGMENT:
      return rowsOf(selection.selectionSet, walk)
    case Kind.FRAGMENT_SPREAD:
      return fragmentResult(selection.name.value, walk.fragments, NONE, set => rowsOf(set, walk))
  }
}

function fieldRows(field: FieldNode, walk: Walk): Rows {
  const name = field.name.value
  if (name === 'totalCount') return { each: 0, once: TOTAL_COUNT_ROWS }
  if (!field.selectionSet || !hasCountedFields(name)) return NONE
  const below = atPage(rowsOf(field.selectionSet, walk), pageSize(field, walk))
  return name === 'nodes' || name === 'edges'
    ? { each: atMost(1 + below), once: 0 }
    : { each: 0, once: below }
}

/** A size that is refused later counts as the largest one. */
function pageSize({ arguments: given }: FieldNode, walk: Walk): number {
  const sizes = (given ?? [])
    .filter(({ name }) => name.value === 'first' || name.value === 'last')
    .map(({ value }) => argumentValue(value, walk))
    .filter(value => value !== null && value !== undefined)
    .map(value => (typeof value === 'number' && value >= 0 ? value : pageRows.maximum))
  return sizes.length === 0 ? pageRows.default : Math.min(pageRows.maximum, Math.max(...sizes))
}

function argumentValue(node: ValueNode, walk: Walk): unknown {
  if (node.kind !== Kind.VARIABLE) return valueFromASTUntyped(node)
  walk.usesVariables = true
  const name = node.name.value
  if (Object.hasOwn(walk.variables, name)) return walk.variables[name]
  const standard = walk.defaults.get(name)
  return standard && valueFromASTUntyped(standard)
}

function isLeftOut(directives: readonly DirectiveNode[] = [], walk: Walk): boolean {
  return directives.some(({ name, arguments: given }) => {
    if (name.value !== 'skip' && name.value !== 'include') return false
    const condition = given?.find(argument => argument.name.value === 'if')
    return condition !== undefined && argumentValue(condition.value, walk) === (name.value === 'skip')
  })
}

function atPage({ each, once }: Rows, size: number): number {
  return atMost(once + size * each)
}

function plus(a: Rows, b: Rows): Rows {
  return { each: atMost(a.each + b.each), once: atMost(a.once + b.once) }
}

function atMost(rows: number): number {
  return Math.min(MANY, rows)
}
