/** What the load generator is told to do, and what it tells. */

/** Who sends, how much and how long. `seconds` come after `warmup`, and they alone are counted. */
export type Pace = {
  connections: number
  warmup: number
  /** None: until it is stopped. */
  seconds?: number
  /** Which of the requests are chosen: the same with every side of a round. */
  seed: number
  /** Requests a second over all connections. None: each connection sends as soon as it has its answer. */
  rate?: number
}

/** `$key` in a body is a new UUID each time. */
export type HttpRequest = { path: string; token?: string; body: string }

export type HttpJob = Pace & {
  kind: 'http'
  url: string
  requests: HttpRequest[]
  /** An answer that is a fault and has this text is no fault, but is counted by itself. */
  refusal?: string
}

/** One prepared statement, over the wire protocol. Values are text; `$key` is a new UUID each time. */
export type SqlJob = Pace & { kind: 'sql'; url: string; setup: string[]; text: string; values: string[][] }

/** Checks a password as often as it can, without any server. */
export type PasswordJob = Pace & { kind: 'password'; hash: string; password: string }

export type Job = HttpJob | SqlJob | PasswordJob

export type Times = {
  count: number
  /** Answers a second. */
  rate: number
  /** Milliseconds. */
  p50: number
  p99: number
}

export type Load = Times & {
  refused?: Times
  /** Share of one core that the generator itself took. */
  cpu: number
  errors: number
  /** The first error. */
  fault?: string
}
