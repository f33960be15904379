/** `npm run test:15`: runs the test files of its arguments on Postgres 15, the oldest supported version. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { bare15, endServersWithProcess } from './support/databases.ts'
import { Skipped } from './support/runChecks.ts'

endServersWithProcess()
try {
  process.exitCode = await runJest(process.argv.slice(2), await bare15())
} catch (error) {
  if (!(error instanceof Skipped)) throw error
  process.stdout.write(`SKIPPED: ${error.message}\n`)
}

async function runJest(args: string[], superuserUrl: string): Promise<number> {
  const jest = ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js', ...args]
  const env = { ...process.env, TEST_DATABASE_URL: superuserUrl }
  const [status] = await once(spawn(process.execPath, jest, { env, stdio: 'inherit' }), 'close')
  return status ?? 1
}
