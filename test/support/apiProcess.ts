/** Runs the API in a separate process, as `npm run api` does. Tests of counters that processes share need several. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { argumentsOf, projectDirectory } from '../../scripts/support/commands.ts'
import { clientOf, jwtSecret, type TestServer } from './apiServer.ts'
import type { TestDatabase } from './database.ts'
import { type RecordedLog, recordLog } from './recordedLog.ts'
import { until } from './waits.ts'

/** Starts an API process on a free port, of this project or of a copy. Its log lines go to `log`; `stop` ends it like Ctrl-C. */
export async function startApiProcess(
  database: Pick<TestDatabase, 'ownerUrl'>,
  env: Record<string, string> = {},
  log: RecordedLog = recordLog(),
  directory = projectDirectory,
): Promise<TestServer> {
  const { PATH = '', HOME = '' } = process.env
  const child = spawn(process.execPath, argumentsOf('api'), {
    cwd: directory,
    env: {
      PATH,
      HOME,
      PORT: '0',
      DATABASE_URL: database.ownerUrl,
      JWT_SECRET: jwtSecret,
      LOG_LEVEL: 'trace',
      ...env,
    },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    createInterface(stream).on('line', line => {
      if (line.startsWith('{')) log.write(`${line}\n`)
      else output += `${line}\n`
    })
  const ended = once(child, 'close')
  await until('the process is ready', () => output.includes('Stop  ') || child.exitCode !== null, 120)
  const [, url] = /GraphQL API +(http\S+)\/graphql/.exec(output) ?? []
  if (url === undefined) throw new Error(`the API process did not start:\n${output}`)
  return {
    ...clientOf(url),
    async stop() {
      child.kill('SIGINT')
      await ended
    },
  }
}
