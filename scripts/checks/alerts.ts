/** The alert rules: promtool checks them and runs their tests. Each alert needs a test in which it fires and one in which it does not. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { Skipped } from '../support/runChecks.ts'
import { runTool } from '../support/tools.ts'

const RULES = 'ops/prometheus/alerts.yml'
const TESTS = 'ops/prometheus/alerts.test.yml'

export async function checkAlerts(): Promise<string[]> {
  const untested = await untestedAlerts()
  const found = (process.env.PATH ?? '').split(delimiter).some(path => existsSync(join(path, 'promtool')))
  if (untested.length === 0 && !found) {
    throw new Skipped("promtool is missing: install Debian's package prometheus; its service is not needed")
  }
  const faults = found
    ? [
        await runTool('promtool', ['check', 'rules', RULES]),
        await runTool('promtool', ['test', 'rules', TESTS]),
      ]
    : []
  return [...untested, ...faults.flat()]
}

async function untestedAlerts(): Promise<string[]> {
  const rules = await readFile(RULES, 'utf8')
  const tests = await readFile(TESTS, 'utf8')
  return [...rules.matchAll(/^ +- alert: (\w+)$/gm)].flatMap(([, name]) => [
    ...(new RegExp(`alertname: ${name}\n +eval_time: \\S+\n +exp_alerts:\n +- `).test(tests)
      ? []
      : [`${TESTS}: ${name} never fires`]),
    ...(new RegExp(`alertname: ${name}, eval_time: \\S+, exp_alerts: \\[\\]`).test(tests)
      ? []
      : [`${TESTS}: ${name} is never silent`]),
  ])
}
