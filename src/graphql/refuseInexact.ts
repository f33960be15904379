/** Refuses numbers that a double cannot keep, in literals and in variables. The refusal is 422 and names the field. */
import type { GrafastExecutionArgs } from 'grafast'
import {
  type ArgumentNode,
  type DocumentNode,
  type GraphQLInputType,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  getOperationAST,
  isInputObjectType,
  isInputType,
  isListType,
  Kind,
  type ObjectFieldNode,
  TypeInfo,
  typeFromAST,
  visit,
  visitWithTypeInfo,
} from 'grafast/graphql'
import { ApiError } from '../request/errors.ts'
import { INEXACT, isExact, isSuspect, mayHaveInexactNumbers } from '../request/exactNumbers.ts'
import { requestOf } from '../request/request.ts'

/** The scalars that accept a number of any size. */
const NUMBERS = new Set(['JSON', 'Float'])
/** Deeper JSON is refused by its scalar. */
const MAX_LEVELS = 22

/** The field of the first inexact literal of a document. Null: it has none. */
const literals = new WeakMap<DocumentNode, string | null>()

/** Throws if the document or a variable has an inexact number. */
export function refuseInexact({ schema, document, operationName, ...args }: GrafastExecutionArgs): void {
  const field =
    fieldOfLiterals(schema, document) ??
    (isSuspect(requestOf(args.requestContext))
      ? fieldOfVariables(schema, document, operationName, args.variableValues)
      : undefined)
  if (field === undefined) return
  const message =
    'A number has more than 15 digits or is out of range, so it would be changed. Please send it as a string.'
  throw new ApiError('invalid_input', message, { detail: { field } })
}

function fieldOfLiterals(schema: GraphQLSchema, document: DocumentNode): string | undefined {
  const known = literals.get(document)
  if (known !== undefined) return known ?? undefined
  const text = document.loc?.source.body
  const field = text === undefined || mayHaveInexactNumbers(text) ? findLiteral(schema, document) : undefined
  literals.set(document, field ?? null)
  return field
}

/** The document is valid, so a literal with so many digits is the value of one of NUMBERS. */
function findLiteral(schema: GraphQLSchema, document: DocumentNode): string | undefined {
  const types = new TypeInfo(schema)
  let field: string | undefined
  let found: string | undefined
  const enter = (name: string) => {
    const type = types.getInputType()
    if (type && NUMBERS.has(getNamedType(type).name)) field = name
  }
  const check = ({ value }: { value: string }) => {
    if (!isExact(value)) found ??= field
  }
  visit(
    document,
    visitWithTypeInfo(types, {
      VariableDefinition: node => enter(node.variable.name.value),
      Argument: (node: ArgumentNode) => enter(node.name.value),
      ObjectField: (node: ObjectFieldNode) => enter(node.name.value),
      [Kind.INT]: check,
      [Kind.FLOAT]: check,
    }),
  )
  return found
}

function fieldOfVariables(
  schema: GraphQLSchema,
  document: DocumentNode,
  operationName: GrafastExecutionArgs['operationName'],
  variables: GrafastExecutionArgs['variableValues'],
): string | undefined {
  for (const { variable, type } of getOperationAST(document, operationName)?.variableDefinitions ?? []) {
    const inputType = typeFromAST(schema, type)
    const name = variable.name.value
    const found = isInputType(inputType) ? findInput(inputType, variables?.[name], name) : undefined
    if (found !== undefined) return found
  }
  return undefined
}

function findInput(type: GraphQLInputType, value: unknown, name: string): string | undefined {
  const nullable = getNullableType(type)
  if (isListType(nullable)) {
    const items: unknown[] = Array.isArray(value) ? value : [value]
    return firstOf(items, item => findInput(nullable.ofType, item, name))
  }
  if (isInputObjectType(nullable)) {
    const given = Object(value) as Record<string, unknown>
    return firstOf(Object.values(nullable.getFields()), field =>
      findInput(field.type, given[field.name], field.name),
    )
  }
  return NUMBERS.has(nullable.name) && hasInexact(value) ? name : undefined
}

function firstOf<Item>(items: Item[], find: (item: Item) => string | undefined): string | undefined {
  for (const item of items) {
    const found = find(item)
    if (found !== undefined) return found
  }
  return undefined
}

function hasInexact(value: unknown): boolean {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0 && depth < MAX_LEVELS; depth += 1) {
    if (level.includes(INEXACT)) return true
    level = level.flatMap(item => (typeof item === 'object' && item !== null ? Object.values(item) : []))
  }
  return false
}
