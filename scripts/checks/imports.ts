/** A request goes down this list of layers once, so a file may import from its own layer and from those below. */
import { dirname, join } from 'node:path'
import { type Source, sources } from '../support/sources.ts'

/** From the entry points down. A name without a suffix is a folder. */
const LAYERS = [
  'src/main.ts',
  'src/doctor.ts',
  'src/admin.ts',
  'src/owner.ts',
  'src/api.ts',
  'src/demo',
  'src/http',
  'src/limits',
  'src/graphql',
  'src/worker',
  'tasks',
  'src/identity',
  'src/alerts',
  'src/mail',
  'src/metrics',
  'src/doctor',
  'src/embedded',
  'src/database',
  'src/request',
  'src/configuration.ts',
  'src/log.ts',
  'src/graphileEnvironment.ts',
]

type Graph = ReadonlyMap<string, readonly string[]>

export async function importsPointDown(): Promise<string[]> {
  return importFaults(await sources(['{src,tasks}/**/*.ts']))
}

export function importFaults(files: Source[]): string[] {
  const graph: Graph = new Map(files.map(({ path, text }) => [path, importsOf(path, text)]))
  const unplaced = files.filter(({ path }) => layerOf(path) < 0).map(({ path }) => `${path} is in no layer`)
  const upward = [...graph].flatMap(([path, imported]) =>
    imported
      .filter(other => layerOf(other) < layerOf(path))
      .map(other => `${path} imports ${other}, which is in a higher layer`),
  )
  return [...unplaced, ...upward, ...circlesOf(graph)]
}

function importsOf(path: string, text: string): string[] {
  const specifiers = text.matchAll(/(?:\bfrom |\bimport\(\s*|^import )(['"`])(\.[^'"`]+)\1/gm)
  return [...specifiers].map(([, , specifier = '']) => join(dirname(path), specifier))
}

function layerOf(path: string): number {
  return LAYERS.findIndex(layer => path === layer || path.startsWith(`${layer}/`))
}

/** Each import cycle once. It starts at the file at which a walk through the imports comes back. */
function circlesOf(graph: Graph): string[] {
  const circles: string[] = []
  const finished = new Set<string>()
  const walk = (path: string, trail: readonly string[]) => {
    if (trail.includes(path)) circles.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
    if (trail.includes(path) || finished.has(path)) return
    for (const imported of graph.get(path) ?? []) walk(imported, [...trail, path])
    finished.add(path)
  }
  for (const path of graph.keys()) walk(path, [])
  return circles
}
