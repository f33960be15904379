/**
 * Limits on a GraphQL document, checked before validation, so that no validation rule processes a large document.
 *
 * The cost of a fragment is computed once and added wherever the fragment is spread. A document whose spreads expand to 2^60
 * fields is refused after as many steps as it has tokens.
 */
import {
  type DirectiveNode,
  type DocumentNode,
  type FragmentDefinitionNode,
  GraphQLError,
  Kind,
  Lexer,
  type OperationDefinitionNode,
  OperationTypeNode,
  type SelectionNode,
  type SelectionSetNode,
  type Source,
  TokenKind,
} from 'grafast/graphql'

/** The most that a document may contain. Each operation of it is measured separately. */
export const documentLimits = {
  /** Bytes of the body of a request, its variables included. `body.ts` stops reading here. */
  bytes: 1_000_000,
  /** Lexical tokens of the whole document. The parser stops here. */
  tokens: 1000,
  /** Levels of fields, the root fields being level 1. */
  depth: 10,
  /** Fields. A field in a fragment counts for each spread of the fragment. */
  fields: 200,
  /** Aliases, counted like fields. */
  aliases: 30,
  /** Mutation fields. Each is its own transaction, so one of two could commit while the other fails. */
  mutationFields: 1,
  /** Rows that an operation may return with its variables, as `documentRows.ts` counts them. */
  rows: 11_000,
} as const

/** A root field that an operation selects. */
export interface RootField {
  readonly name: string
  /** How often the document selects it under this response key. */
  readonly times: number
}

type Limit = keyof typeof documentLimits
type Cost = Readonly<Record<'depth' | 'fields' | 'aliases', number>>
/** Response key → root field. */
export type RootFields = ReadonlyMap<string, RootField>

/** The fragments of a document, and the results of those that were already visited. */
export interface Fragments<Result> {
  readonly definitions: ReadonlyMap<string, FragmentDefinitionNode>
  readonly results: Map<string, Result>
}

const NO_COST: Cost = { depth: 0, fields: 0, aliases: 0 }

const explanations: Readonly<Record<Limit, string>> = {
  bytes: 'The request body is larger than 1 MB. Please send less at once.',
  tokens: `The document is longer than ${documentLimits.tokens} tokens. Please split it.`,
  depth: `The document nests fields deeper than ${documentLimits.depth} levels. Please nest fewer.`,
  fields: `The document selects more than ${documentLimits.fields} fields. Please ask for less at once.`,
  aliases: `The document has more than ${documentLimits.aliases} aliases. Please ask for less at once.`,
  mutationFields: 'An operation may have only one mutation field. Please send one request for each.',
  rows: `The operation may return more than ${documentLimits.rows} rows. Please ask for smaller pages.`,
}

/** Throws if the source has too many tokens, or characters that are no token. */
export function assertTokens(source: Source): void {
  const lexer = new Lexer(source)
  let tokens = 0
  while (lexer.advance().kind !== TokenKind.EOF) {
    tokens += 1
    if (tokens > documentLimits.tokens) throw limitError('tokens')
  }
}

/** The limits that a document breaks, as errors for the client. */
export function limitErrors(document: DocumentNode): GraphQLError[] {
  const fragments = fragmentsOf<Cost>(document)
  const broken = new Set<Limit>()
  for (const operation of document.definitions) {
    if (operation.kind !== Kind.OPERATION_DEFINITION) continue
    const cost = costOf(operation.selectionSet, fragments)
    for (const limit of ['depth', 'fields', 'aliases'] as const) {
      if (cost[limit] > documentLimits[limit]) broken.add(limit)
    }
    if (operation.operation !== OperationTypeNode.MUTATION) continue
    const names = [...rootFields(document, operation).values()].map(field => field.name)
    const mutations = names.filter(name => name !== '__typename')
    if (mutations.length > documentLimits.mutationFields) broken.add('mutationFields')
  }
  return [...broken].map(limitError)
}

/**
 * Response key → root field, with all fragments expanded. A field is left out only for a literal `@skip(if: true)` or
 * `@include(if: false)`. A field whose condition is a variable counts.
 */
export function rootFields(document: DocumentNode, operation: OperationDefinitionNode): RootFields {
  return rootFieldsOf(operation.selectionSet, fragmentsOf<RootFields>(document))
}

function rootFieldsOf(set: SelectionSetNode, fragments: Fragments<RootFields>): RootFields {
  const found = new Map<string, RootField>()
  for (const selection of set.selections) {
    if (isSkipped(selection.directives)) continue
    for (const [key, { name, times }] of selectedRootFields(selection, fragments)) {
      found.set(key, { name, times: times + (found.get(key)?.times ?? 0) })
    }
  }
  return found
}

function selectedRootFields(selection: SelectionNode, fragments: Fragments<RootFields>): RootFields {
  switch (selection.kind) {
    case Kind.FIELD:
      return new Map([[(selection.alias ?? selection.name).value, { name: selection.name.value, times: 1 }]])
    case Kind.INLINE_FRAGMENT:
      return rootFieldsOf(selection.selectionSet, fragments)
    case Kind.FRAGMENT_SPREAD:
      return fragmentResult(selection.name.value, fragments, new Map(), rootFieldsOf)
  }
}

function costOf(set: SelectionSetNode, fragments: Fragments<Cost>): Cost {
  return set.selections.map(selection => selectionCost(selection, fragments)).reduce(addCosts, NO_COST)
}

function selectionCost(selection: SelectionNode, fragments: Fragments<Cost>): Cost {
  switch (selection.kind) {
    case Kind.FIELD: {
      const inner = hasCountedFields(selection.name.value) && selection.selectionSet
      const below = inner ? costOf(inner, fragments) : NO_COST
      return {
        depth: below.depth + 1,
        fields: below.fields + 1,
        aliases: below.aliases + (selection.alias ? 1 : 0),
      }
    }
    case Kind.INLINE_FRAGMENT:
      return costOf(selection.selectionSet, fragments)
    case Kind.FRAGMENT_SPREAD:
      return fragmentResult(selection.name.value, fragments, NO_COST, costOf)
  }
}

/** Introspection does not count: its usual query is larger than the limits, and validation refuses it where it is off. */
export function hasCountedFields(name: string): boolean {
  return name !== '__schema' && name !== '__type'
}

export function fragmentResult<Result>(
  name: string,
  fragments: Fragments<Result>,
  empty: Result,
  compute: (set: SelectionSetNode, fragments: Fragments<Result>) => Result,
): Result {
  const definition = fragments.definitions.get(name)
  const known = fragments.results.get(name)
  if (known !== undefined || !definition) return known ?? empty
  // ends a cycle of fragments, which validation refuses later
  fragments.results.set(name, empty)
  const result = compute(definition.selectionSet, fragments)
  fragments.results.set(name, result)
  return result
}

export function fragmentsOf<Result>(document: DocumentNode): Fragments<Result> {
  const definitions = new Map<string, FragmentDefinitionNode>()
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) definitions.set(definition.name.value, definition)
  }
  return { definitions, results: new Map() }
}

function addCosts(a: Cost, b: Cost): Cost {
  return {
    depth: Math.max(a.depth, b.depth),
    fields: a.fields + b.fields,
    aliases: a.aliases + b.aliases,
  }
}

function isSkipped(directives: readonly DirectiveNode[] = []): boolean {
  return directives.some(({ name, arguments: given }) => {
    const condition = given?.find(argument => argument.name.value === 'if')?.value
    if (condition?.kind !== Kind.BOOLEAN) return false
    return name.value === 'skip' ? condition.value : name.value === 'include' && !condition.value
  })
}

export function limitError(limit: Limit): GraphQLError {
  return new GraphQLError(explanations[limit], {
    extensions: { code: 'invalid_input', detail: { limit, maximum: documentLimits[limit] } },
  })
}
