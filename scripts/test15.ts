/** `npm run test:15`: the test files that its arguments name, on Postgres 15, the oldest that we support. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Skipped } from './support/check.ts'
import { withServers } from './support/servers.ts'

await withServers(async ({ bare15 }) => {
  try {
    const { superuserUrl } = await bare15()
    return await runJest(process.argv.slice(2), superuserUrl)
  } catch (error) {
    if (!(error instanceof Skipped)) throw error
    process.stdout.write(`SKIPPED: ${error.message}\n`)
    return 0
  }
})

async function runJest(args: string[], superuserUrl: string): Promise<number> {
  const jest = ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js', ...args]
  const env = { ...process.env, TEST_DATABASE_URL: superuserUrl }
  const [status] = await once(spawn(process.execPath, jest, { env, stdio: 'inherit' }), 'close')
  return status ?? 1
}
