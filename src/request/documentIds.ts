/**
 * The rows that an operation names by their ids, such as the dealer of a publication. Requests for the same dealer or the same
 * subscription wait for the same lock, so the slots count them together.
 */
import {
  type ArgumentNode,
  type DocumentNode,
  Kind,
  type OperationDefinitionNode,
  OperationTypeNode,
  type SelectionSetNode,
  valueFromASTUntyped,
} from 'grafast/graphql'
import { fragmentsOf } from './documentLimits.ts'
import type { Variables } from './documentRows.ts'

/**
 * The names of arguments and input fields that count. A mutation locks the rows that it names, except a package: many dealers buy
 * the same one. A query locks none, and many users may read the same row; it counts for its dealer only, because all reads of a
 * large dealer may be slow.
 */
const NAMES = { mutation: /(?<!^package)Id$/, query: /^dealerId$/ }
/** Levels that are searched: the argument, and the fields of an input object. */
const DEPTH = 2
/** More than any operation names. */
const MAX_IDS = 8
const HEX_DIGITS = 32

/** The ids as a function of the variables. An id is its 32 digits, because Postgres reads several spellings of a UUID. */
export function idReader(
  document: DocumentNode,
  operation: OperationDefinitionNode,
): (variables: Variables) => readonly string[] {
  const given = rootArguments(document, operation)
  const defaults = Object.fromEntries(
    (operation.variableDefinitions ?? []).flatMap(({ variable, defaultValue }) =>
      defaultValue === undefined ? [] : [[variable.name.value, valueFromASTUntyped(defaultValue)]],
    ),
  )
  const wanted = operation.operation === OperationTypeNode.MUTATION ? NAMES.mutation : NAMES.query
  return variables => {
    const values = { ...defaults, ...variables }
    const found = new Set<string>()
    for (const argument of given) {
      collect(argument.name.value, valueFromASTUntyped(argument.value, values), DEPTH, wanted, found)
    }
    return [...found]
  }
}

/** Visits each fragment once, because spreads may expand to any number of fields. */
function rootArguments(document: DocumentNode, { selectionSet }: OperationDefinitionNode): ArgumentNode[] {
  const { definitions } = fragmentsOf(document)
  const visited = new Set<string>()
  const visit = ({ selections }: SelectionSetNode): ArgumentNode[] =>
    selections.flatMap(selection => {
      if (selection.kind === Kind.FIELD) return selection.arguments ?? []
      if (selection.kind === Kind.INLINE_FRAGMENT) return visit(selection.selectionSet)
      const name = selection.name.value
      const fragment = visited.has(name) ? undefined : definitions.get(name)
      visited.add(name)
      return fragment === undefined ? [] : visit(fragment.selectionSet)
    })
  return visit(selectionSet)
}

function collect(name: string, value: unknown, depth: number, wanted: RegExp, found: Set<string>): void {
  if (typeof value === 'string') {
    if (!wanted.test(name) || found.size === MAX_IDS) return
    const digits = value.toLowerCase().replaceAll(/[^0-9a-f]/g, '')
    if (digits.length === HEX_DIGITS) found.add(digits)
  } else if (typeof value === 'object' && value !== null && depth > 1) {
    for (const [key, inner] of Object.entries(value)) collect(key, inner, depth - 1, wanted, found)
  }
}
