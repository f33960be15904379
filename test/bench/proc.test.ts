/** The CPU time of other processes, which the benchmark divides by the number of responses. */
import { spawnSync } from 'node:child_process'
import { expect, test } from '@jest/globals'
import { cpuOf, cpuOfFamily } from '../../bench/support/proc.ts'

const onLinux = process.platform === 'linux' ? test : test.skip
/** Uses CPU time, and prints how much of it in milliseconds. */
const BURN = `
  for (const end = process.cpuUsage().user + 300_000; process.cpuUsage().user < end; );
  const { user, system } = process.cpuUsage()
  console.log((user + system) / 1000)`

onLinux('the CPU time of a child that has ended counts for its parent, once', () => {
  const before = { own: cpuOf([process.pid]) ?? 0, family: cpuOfFamily(process.pid) ?? 0 }
  const used = Number(spawnSync(process.execPath, ['-e', BURN], { encoding: 'utf8' }).stdout)
  const family = (cpuOfFamily(process.pid) ?? 0) - before.family
  const own = (cpuOf([process.pid]) ?? 0) - before.own
  expect(used).toBeGreaterThanOrEqual(300)
  expect(family - own).toBeGreaterThan(0.9 * used)
  expect(family - own).toBeLessThan(1.6 * used)
})

onLinux('the CPU time of a process that does not exist is unknown, not zero', () => {
  expect(cpuOf([process.pid, 2 ** 30])).toBeUndefined()
  expect(cpuOfFamily(2 ** 30)).toBeUndefined()
})
