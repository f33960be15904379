/**
 * Refuses values that would be changed or could not be stored: numbers that a double cannot keep, and text with characters such
 * as NUL. The refusal is 422 and names the field.
 */
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
import { INEXACT, isExact, mayHaveInexactNumbers } from '../request/exactNumbers.ts'
import { isStorable, mayHaveUnstorableText } from '../request/storableText.ts'

const MESSAGES = {
  number:
    'A number has more than 15 digits or is out of range, so it would be changed. Please send it as a string.',
  text: 'A text has a character that cannot be stored, such as NUL or half a surrogate pair. Please remove it.',
} as const

type Fault = keyof typeof MESSAGES
/** The refusal of the first such value. */
type Unstorable = Readonly<{ message: string; detail: { field: string; index?: number } }>

/** The scalars that accept a number of any size. */
const NUMBERS = new Set(['JSON', 'Float'])
/** Deeper JSON is refused by its scalar. */
const MAX_LEVELS = 22

/** `index` is that of an object in a list of objects, as in a batch. */
function unstorable(field: string, fault: Fault, index?: number): Unstorable {
  return { message: MESSAGES[fault], detail: { field, ...(index === undefined ? null : { index }) } }
}

/** Finds the first such literal. Runs before the validation, which would refuse an id with a NUL as no UUID, with 400. */
export function unstorableLiteral(schema: GraphQLSchema, document: DocumentNode): Unstorable | undefined {
  const text = document.loc?.source.body
  if (text !== undefined && !mayHaveInexactNumbers(text) && !mayHaveUnstorableText(text)) return undefined
  const types = new TypeInfo(schema)
  let field = ''
  let index: number | undefined
  let acceptsNumbers = false
  let found: Unstorable | undefined
  const enter = (name: string, position?: unknown) => {
    const type = types.getInputType()
    // within JSON there are no types: the refusal names the field that has the JSON
    if (type === undefined || type === null) return
    field = name
    index = typeof position === 'number' ? position : undefined
    acceptsNumbers = NUMBERS.has(getNamedType(type).name)
  }
  const checkNumber = ({ value }: { value: string }) => {
    if (acceptsNumbers && !isExact(value)) found ??= unstorable(field, 'number', index)
  }
  visit(
    document,
    visitWithTypeInfo(types, {
      VariableDefinition: node => enter(node.variable.name.value),
      Argument: (node: ArgumentNode) => enter(node.name.value),
      // the path of a field of an object in a list ends with: values, its index, fields, the index of the field
      ObjectField: (node: ObjectFieldNode, _key, _parent, path) =>
        enter(node.name.value, path.at(-4) === 'values' ? path.at(-3) : undefined),
      [Kind.INT]: checkNumber,
      [Kind.FLOAT]: checkNumber,
      [Kind.STRING]: ({ value }: { value: string }) => {
        if (!isStorable(value)) found ??= unstorable(field, 'text', index)
      },
    }),
  )
  return found
}

/** Throws if a variable of the operation has such a value. */
export function refuseUnstorable(args: GrafastExecutionArgs): void {
  const { schema, document, operationName, variableValues } = args
  for (const { variable, type } of getOperationAST(document, operationName)?.variableDefinitions ?? []) {
    const inputType = typeFromAST(schema, type)
    const name = variable.name.value
    const found = isInputType(inputType) ? findInput(inputType, variableValues?.[name], name) : undefined
    if (found !== undefined) throw new ApiError('invalid_input', found.message, { detail: found.detail })
  }
}

function findInput(type: GraphQLInputType, value: unknown, name: string): Unstorable | undefined {
  if (value === undefined || value === null) return undefined
  const nullable = getNullableType(type)
  if (isListType(nullable)) {
    const items: unknown[] = Array.isArray(value) ? value : [value]
    const isBatch = Array.isArray(value) && isInputObjectType(getNamedType(nullable))
    return firstOf(items, (item, index) => {
      const found = findInput(nullable.ofType, item, name)
      return found && isBatch ? { ...found, detail: { ...found.detail, index } } : found
    })
  }
  if (isInputObjectType(nullable)) {
    const given = Object(value) as Record<string, unknown>
    return firstOf(Object.values(nullable.getFields()), field =>
      findInput(field.type, given[field.name], field.name),
    )
  }
  const fault = faultOf(value, NUMBERS.has(nullable.name))
  return fault && unstorable(name, fault)
}

function firstOf<Item>(
  items: Item[],
  find: (item: Item, index: number) => Unstorable | undefined,
): Unstorable | undefined {
  for (const [index, item] of items.entries()) {
    const found = find(item, index)
    if (found !== undefined) return found
  }
  return undefined
}

function faultOf(value: unknown, acceptsNumbers: boolean): Fault | undefined {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0 && depth < MAX_LEVELS; depth += 1) {
    if (level.some(item => typeof item === 'string' && !isStorable(item))) return 'text'
    if (acceptsNumbers && level.includes(INEXACT)) return 'number'
    level = level.flatMap(partsOf)
  }
  return undefined
}

/** The elements of a list; the names and the values of an object. */
function partsOf(value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return []
  return Array.isArray(value) ? value : Object.entries(value).flat()
}
