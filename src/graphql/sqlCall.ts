/** Calls SQL functions from the plans of mutations that work in TypeScript. */
import type { Step } from 'grafast'
import { TYPES } from 'postgraphile/@dataplan/pg'

type Resources = GraphileBuild.Build['pgResources']

/** Calls a function of `app_public` as a mutation of PostGraphile does: as the caller, in one transaction that waits for the disk. */
export function sqlCall(resources: Resources, name: string) {
  const resource = resources[name]
  if (!resource) throw new Error(`No role of the API may execute app_public.${name}`)
  const codecs = resource.parameters?.map(({ codec }) => codec) ?? []
  return (...values: Step[]) =>
    resource.execute(
      values.map((step, index) => ({ step, pgCodec: codecs[index] ?? TYPES.text })),
      'mutation',
    )
}
