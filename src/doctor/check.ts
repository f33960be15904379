/** What a check of the doctor is. */
import type { ClientBase } from 'pg'

export type Finding = {
  /** FAIL: data, access or service is at risk now. WARN: it will be. note: what could not be told, or is a choice. */
  verdict: 'FAIL' | 'WARN' | 'note'
  finding: string
  remedy: string
}

export type Surroundings = {
  /** Connected as the owner. */
  client: ClientBase
  /** Milliseconds since 1970 by this machine's clock. */
  now: () => number
  /** As the API processes have them: `POOL_SIZE` and `INSTANCES`. */
  poolSize: number
  instances: number
}

export type Check = {
  /** What is so where nothing is found. */
  name: string
  run(surroundings: Surroundings): Promise<Finding[]>
}
