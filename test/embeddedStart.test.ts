/** `npm start` on its own database, in a folder whose name has awkward characters: a port in use, and a server that dies. */

import { once } from 'node:events'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { projectDirectory } from '../scripts/support/commands.ts'
import { startEmbedded } from '../src/embedded/embedded.ts'
import { killLeftOvers, start, untilReady } from './support/commandProcess.ts'
import { until } from './support/waits.ts'

const folder = mkdtempSync(join(tmpdir(), 'forecourt ü #1 %20 '))
const data = join(folder, '.data')

beforeAll(() => {
  for (const name of ['src', 'tasks', 'migrations', 'package.json', 'tsconfig.json', 'schema.sql'])
    cpSync(join(projectDirectory, name), join(folder, name), { recursive: true })
  symlinkSync(join(projectDirectory, 'node_modules'), join(folder, 'node_modules'))
})

afterAll(async () => {
  await killLeftOvers()
  // takes over a server that a failed test has left running, so that it can be stopped
  if (existsSync(data)) await (await startEmbedded({ directory: data, log: () => {} })).stop()
  rmSync(folder, { recursive: true })
})

const pidFile = join(data, 'postgres', 'postmaster.pid')

/** Undefined while no server runs: a server that starts first removes the file of the dead one. */
function serverPid(): number | undefined {
  return existsSync(pidFile) ? Number.parseInt(readFileSync(pidFile, 'utf8'), 10) || undefined : undefined
}

const statusOf = async (url: string) => (await fetch(`${url}/readyz`)).status

test('a port in use is reported before a database is created', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  const running = start('start', { PORT: String(port) }, folder)
  const code = await running.ended.finally(() => other.close())
  expect(code).toBe(1)
  expect(running.output()).toMatch(new RegExp(`^Port ${port} .* or set PORT\\.$`, 'm'))
  expect(existsSync(data)).toBe(false)
})

test('SIGTERM during a start leaves no server behind', async () => {
  const running = start('start', {}, folder)
  await until('the server starts', () => running.output().includes('creating the database'))
  running.child.kill('SIGTERM')
  expect(await running.ended).toBe(0)
  expect(running.output()).toContain('stopped database')
  expect(serverPid()).toBeUndefined()
})

test('a server that dies is started again once, and when it dies again the process ends with 1', async () => {
  const running = start('start', {}, folder)
  const url = await untilReady(running)
  expect(await statusOf(url)).toBe(200)
  const first = serverPid() as number
  process.kill(first, 'SIGKILL')
  await until('another server runs', () => running.output().includes('it starts again'))
  await until(
    'the API is ready again',
    async () => ![first, undefined].includes(serverPid()) && (await statusOf(url)) === 200,
  )
  process.kill(serverPid() as number, 'SIGKILL')
  expect(await running.ended).toBe(1)
  expect(running.output()).toMatch(/^Postgres has ended twice\./m)
})
