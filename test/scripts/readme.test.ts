/** The five minutes of README.md, followed by a newcomer: each curl runs on the demo data and gets the documented response. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { makeDemoData } from '../../src/demo/demo.ts'
import { makeLog } from '../../src/log.ts'
import { startWorkerRole } from '../../src/worker/role.ts'
import type { Supervised } from '../../src/worker/supervisor.ts'
import { jwtSecret, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { runScript } from '../support/shell.ts'
import { blocksOf } from './guide.ts'

const home = mkdtempSync(join(tmpdir(), 'forecourt-readme-'))
const hasCurl = spawnSync('curl', ['--version']).status === 0

let database: TestDatabase
let server: TestServer
let worker: Supervised

beforeAll(async () => {
  database = await cloneDatabase()
  await makeDemoData(database.ownerUrl)
  server = await startServer(database)
  worker = await startWorkerRole({
    databaseUrl: database.ownerUrl,
    log: makeLog('silent'),
    jwtSecret,
    mailDirectory: join(home, '.data', 'mail'),
  })
})

afterAll(async () => {
  await worker.stop()
  await server.stop()
  await database.drop()
  rmSync(home, { recursive: true })
})

/** Matches a documented response, in which `…` stands for any value. */
function patternOf(json: string): RegExp {
  const text = JSON.stringify(JSON.parse(json)).replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return new RegExp(text.replaceAll('…', '[^"]+'))
}

const testWithCurl = hasCurl ? test : test.skip

testWithCurl(
  'the first five minutes end with a listing that the public sees, also the second time',
  async () => {
    const blocks = blocksOf(await readFile('README.md', 'utf8'), 'Five minutes to the first listing')
    const commands = blocks.filter(({ language, text }) => language === 'sh' && text.includes('curl'))
    // the blocks share the variables of one shell
    const script = commands.map(({ text }) => text).join('\n')
    const documented = blocks.filter(({ language }) => language === 'json')
    expect(documented.length).toBeGreaterThan(1)
    expect(documented.at(-1)?.text).toContain('ACTIVE')
    for (const time of ['first', 'second']) {
      const here = script.replaceAll('http://127.0.0.1:5080', server.url)
      const { status, output } = await runScript(here, {}, home)
      expect([time, status, output]).toEqual([time, 0, expect.not.stringContaining('"errors"')])
      for (const { text } of documented) expect(output).toMatch(patternOf(text))
    }
  },
)
