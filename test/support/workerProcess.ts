/** A worker as a process of its own, for tests that kill it: `node workerProcess.ts <owner's URL>`. */
import { makeLog } from '../../src/log.ts'
import { startWorkerRole } from '../../src/worker/role.ts'

await startWorkerRole({ databaseUrl: process.argv[2] ?? '', log: makeLog('error') })
