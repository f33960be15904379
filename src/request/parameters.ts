/** The parameters of a GraphQL request, read in one way for the limits, the log and GraphQL: by POST from the body, by GET from the URL. */
import { type ParsedUrlQuery, parse } from 'node:querystring'
import type { ApiRequest } from './request.ts'

/** As far as they could be read: what has another type is absent here, and GraphQL refuses it. */
export type Parameters = Readonly<{
  query?: string
  operationName?: string
  variables: Readonly<Record<string, unknown>>
}>

const parameters = new WeakMap<object, Parameters>()
const searches = new WeakMap<object, ParsedUrlQuery>()

/** GET, and HEAD, which is a GET without the body of the answer. */
export function isGet({ method }: Pick<ApiRequest, 'method'>): boolean {
  return method === 'GET' || method === 'HEAD'
}

/** The parameters in the URL. One that is given twice is an array. */
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
