/** Calls SQL functions from the plans of mutations that work in TypeScript. */
import type { Step } from 'grafast'
import { TYPES } from 'postgraphile/@dataplan/pg'

type Resource = GraphileBuild.Build['pgResources'][string]

/** Calls a function as a mutation of PostGraphile does: as the caller, in one transaction that waits for the disk. */
export function caller(resource: Resource | undefined) {
  if (!resource) throw new Error('No role of the API may execute a function of a mutation')
  const codecs = resource.parameters?.map(({ codec }) => codec) ?? []
  return (...values: Step[]) =>
    resource.execute(
      values.map((step, index) => ({ step, pgCodec: codecs[index] ?? TYPES.text })),
      'mutation',
    )
}
