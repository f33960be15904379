/** Runs a worker in a separate process, for tests that kill it: `node workerProcess.ts <database URL of the owner>`. */
import { makeLog } from '../../src/log.ts'
import { startWorkerRole } from '../../src/worker/role.ts'

await startWorkerRole({ databaseUrl: process.argv[2] ?? '', log: makeLog('error') })
