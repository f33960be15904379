/** `npm run db:doctor`: examines the database as its owner. The exit code is 1 when something must be done at once. */
import { describe, examine, isHealthy } from './doctor/examine.ts'
import { asOwner } from './owner.ts'

// a reader such as `head` closes the pipe when it has read enough
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

function main(): Promise<boolean> {
  return asOwner(
    { name: 'forecourt doctor', lockTimeoutMs: 2_000 },
    async (client, { poolSize, instances }) => {
      const examined = await examine({ client, now: Date.now, poolSize, instances })
      process.stdout.write(describe(examined))
      return isHealthy(examined)
    },
  )
}

try {
  process.exitCode = (await main()) ? 0 : 1
} catch (error) {
  const { code, message } = error as { code?: string; message?: string }
  process.stderr.write(`${message || `Cannot connect (${code}). Please check DATABASE_URL.`}\n`)
  process.exitCode = 1
}
