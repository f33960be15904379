/** Metrics of the process: build, memory, processor time, garbage collection, event loop lag. */
import { readFileSync } from 'node:fs'
import { collectDefaultMetrics, Gauge, type Registry } from 'prom-client'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

export function reportProcess(registry: Registry): void {
  collectDefaultMetrics({ register: registry })
  const build = new Gauge({
    name: 'forecourt_build_info',
    help: 'Always 1. The labels have the versions of Forecourt and Node.',
    labelNames: ['version', 'node'],
    registers: [registry],
  })
  build.set({ version, node: process.versions.node }, 1)
}
