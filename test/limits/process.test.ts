/** A real process that loses its database: an uncaught error would end it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { argumentsOf, projectDirectory } from '../../scripts/support/commands.ts'
import { jwtSecret } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { type Relay, startRelay } from '../support/relay.ts'
import { until } from '../support/waits.ts'

let database: TestDatabase
let relay: Relay

beforeAll(async () => {
  database = await cloneDatabase()
  await database.owner.query(
    "update app_public.rate_limit_policies set mode = 'enforce' where scope = 'public_read'",
  )
  relay = await startRelay(database.ownerUrl)
})

afterAll(async () => {
  await relay.cut()
  await database.drop()
})

test('a process survives the loss of its database without an uncaught error', async () => {
  const { PATH = '', HOME = '' } = process.env
  const env = { PATH, HOME, PORT: '0', DATABASE_URL: relay.url, JWT_SECRET: jwtSecret, DEMO_DATA: '0' }
  const child: ChildProcess = spawn(process.execPath, argumentsOf('api'), { cwd: projectDirectory, env })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', text => (output += text))
  try {
    await until('the process is ready', () => output.includes('Stop  ') || child.exitCode !== null, 120)
    const [, url] = /GraphQL API +(http\S+)\/graphql/.exec(output) ?? []
    const send = () =>
      fetch(`${url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"query":"{ __typename }"}',
      })
    await send()
    for (const lose of [relay.cut, async () => relay.stall()]) {
      const burst = Promise.all(Array.from({ length: 20 }, send))
      await lose()
      await burst
      await sleep(1_200)
      await Promise.all(Array.from({ length: 20 }, send))
      if (lose === relay.cut) await relay.restore()
    }
    await sleep(4_000)
    expect([child.exitCode, /unhandled|uncaught/i.test(output)]).toEqual([null, false])
  } finally {
    child.kill('SIGKILL')
  }
})
