/**
 * Limits on a GraphQL document, checked before it is validated, so that no rule of the validation ever meets a large one.
 *
 * What a fragment holds is worked out once and then added wherever it is spread: a document whose spreads expand to 2^60
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

/** What a document may hold. Each operation of the document is measured on its own. */
export const documentLimits = {
  /** Lexical tokens of the whole document; reading stops here. */
  tokens: 1000,
  /** Levels of fields, the root fields being level 1. */
  depth: 10,
  /** Fields, each counted as often as its fragments are spread. */
  fields: 200,
  /** Aliases, counted like fields. */
  aliases: 30,
  /** Mutation fields: each is a transaction of its own, so two would commit apart. */
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

/** The fragments of a document, and what is known already of those that were met. */
export interface Fragments<Known> {
  readonly definitions: ReadonlyMap<string, FragmentDefinitionNode>
  readonly known: Map<string, Known>
}

const nothing: Cost = { depth: 0, fields: 0, aliases: 0 }

const explanations: Readonly<Record<Limit, string>> = {
  tokens: `The document is longer than ${documentLimits.tokens} tokens. Please split it.`,
  depth: `The document nests fields deeper than ${documentLimits.depth} levels.`,
  fields: `The document selects more than ${documentLimits.fields} fields. Please ask for less at once.`,
  aliases: `The document holds more than ${documentLimits.aliases} aliases. Please ask for less at once.`,
  mutationFields: 'An operation may hold one mutation field only. Please send one request for each.',
  rows: `The operation may return more than ${documentLimits.rows} rows. Please ask for smaller pages.`,
}

/** Throws if the source is longer than it may be, or if it is not even made of tokens. */
export function assertTokens(source: Source): void {
  const lexer = new Lexer(source)
  let tokens = 0
  while (lexer.advance().kind !== TokenKind.EOF) {
    tokens += 1
    if (tokens > documentLimits.tokens) throw breach('tokens')
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
  return [...broken].map(breach)
}

/**
 * Response key → root field, through all fragments. A field is left out only where a literal `@skip(if: true)` or
 * `@include(if: false)` says so; behind a variable it counts.
 */
export function rootFields(document: DocumentNode, operation: OperationDefinitionNode): RootFields {
  return rootFieldsOf(operation.selectionSet, fragmentsOf<RootFields>(document))
}

function rootFieldsOf(set: SelectionSetNode, fragments: Fragments<RootFields>): RootFields {
  const found = new Map<string, RootField>()
  for (const selection of set.selections) {
    if (isLeftOut(selection.directives)) continue
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
      return ofFragment(selection.name.value, fragments, new Map(), rootFieldsOf)
  }
}

function costOf(set: SelectionSetNode, fragments: Fragments<Cost>): Cost {
  return set.selections.map(selection => selectionCost(selection, fragments)).reduce(plus, nothing)
}

function selectionCost(selection: SelectionNode, fragments: Fragments<Cost>): Cost {
  switch (selection.kind) {
    case Kind.FIELD: {
      const inner = hasCountedFields(selection.name.value) && selection.selectionSet
      const below = inner ? costOf(inner, fragments) : nothing
      return {
        depth: below.depth + 1,
        fields: below.fields + 1,
        aliases: below.aliases + (selection.alias ? 1 : 0),
      }
    }
    case Kind.INLINE_FRAGMENT:
      return costOf(selection.selectionSet, fragments)
    case Kind.FRAGMENT_SPREAD:
      return ofFragment(selection.name.value, fragments, nothing, costOf)
  }
}

/** Introspection is left to the validation: refused where it is off, and where it is on, its own query is this large. */
export function hasCountedFields(name: string): boolean {
  return name !== '__schema' && name !== '__type'
}

export function ofFragment<Known>(
  name: string,
  fragments: Fragments<Known>,
  none: Known,
  workOut: (set: SelectionSetNode, fragments: Fragments<Known>) => Known,
): Known {
  const definition = fragments.definitions.get(name)
  const before = fragments.known.get(name)
  if (before !== undefined || !definition) return before ?? none
  // Ends a circle of fragments; the validation refuses it in its own words.
  fragments.known.set(name, none)
  const found = workOut(definition.selectionSet, fragments)
  fragments.known.set(name, found)
  return found
}

export function fragmentsOf<Known>(document: DocumentNode): Fragments<Known> {
  const definitions = new Map<string, FragmentDefinitionNode>()
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) definitions.set(definition.name.value, definition)
  }
  return { definitions, known: new Map() }
}

function plus(a: Cost, b: Cost): Cost {
  return {
    depth: Math.max(a.depth, b.depth),
    fields: a.fields + b.fields,
    aliases: a.aliases + b.aliases,
  }
}

function isLeftOut(directives: readonly DirectiveNode[] = []): boolean {
  return directives.some(({ name, arguments: given }) => {
    const condition = given?.find(argument => argument.name.value === 'if')?.value
    if (condition?.kind !== Kind.BOOLEAN) return false
    return name.value === 'skip' ? condition.value : name.value === 'include' && !condition.value
  })
}

export function breach(limit: Limit): GraphQLError {
  return new GraphQLError(explanations[limit], {
    extensions: { code: 'invalid_input', detail: { limit, maximum: documentLimits[limit] } },
  })
}
