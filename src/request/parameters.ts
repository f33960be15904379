/**
 * The parameters of a GraphQL request, from the body of a POST or the URL of a GET. The limits, the log and GraphQL all use this
 * reading, so they cannot differ.
 */
import { type ParsedUrlQuery, parse } from 'node:querystring'
import type { ApiRequest } from './request.ts'

/** A parameter of the wrong type is absent here, and GraphQL refuses the request. */
export type Parameters = Readonly<{
  query?: string
  operationName?: string
  variables: Readonly<Record<string, unknown>>
}>

const parameters = new WeakMap<object, Parameters>()
const searches = new WeakMap<object, ParsedUrlQuery>()

/** GET, or HEAD, which is a GET without the body of the response. */
export function isGet({ method }: Pick<ApiRequest, 'method'>): boolean {
  return method === 'GET' || method === 'HEAD'
}

/** The parameters in the URL. A parameter that occurs twice is an array. */
export function searchOf(request: ApiRequest): ParsedUrlQuery {
  const { url = '' } = request
  const known = searches.get(request) ?? parse(url.includes('?') ? url.slice(url.indexOf('?') + 1) : '')
  // GraphQL over HTTP: the empty string stands for no name
  if (known.operationName === '') delete known.operationName
  searches.set(request, known)
  return known
}

export function parametersOf(request: ApiRequest): Parameters {
  const known = parameters.get(request)
  if (known !== undefined) return known
  const { query, operationName, variables } = isGet(request) ? fromSearch(request) : Object(request.body)
  const read: Parameters = {
    ...(typeof query === 'string' ? { query } : {}),
    ...(typeof operationName === 'string' ? { operationName } : {}),
    variables: typeof variables === 'object' && variables !== null ? variables : {},
  }
  parameters.set(request, read)
  return read
}

function fromSearch(request: ApiRequest): Record<string, unknown> {
  const { query, operationName, variables } = searchOf(request)
  try {
    return { query, operationName, variables: typeof variables === 'string' ? JSON.parse(variables) : {} }
  } catch {
    return { query, operationName }
  }
}
