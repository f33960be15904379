/** The input and output of a check of the doctor. */
import type { ClientBase } from 'pg'

export type Finding = {
  /** FAIL: data, access or service is at risk now. WARN: it will be. note: a choice, or something that this login cannot see. */
  verdict: 'FAIL' | 'WARN' | 'note'
  finding: string
  remedy: string
}

export type Context = {
  /** Connected as the owner. */
  client: ClientBase
  /** Milliseconds since 1970 by this machine's clock. */
  now: () => number
  /** The settings of the API processes: `POOL_SIZE` and `INSTANCES`. */
  poolSize: number
  instances: number
}

export type Check = {
  /** Printed when the check passes. */
  name: string
  run(context: Context): Promise<Finding[]>
}
