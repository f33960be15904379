/** The jobs of the load generator, and their results. */

/** How much is sent and for how long. `warmup` (in seconds) comes before `seconds` and is not counted. */
export type Pace = {
  connections: number
  warmup: number
  /** Undefined: until the job is stopped. */
  seconds?: number
  /** Selects the requests: the same for every side of a round. */
  seed: number
  /** Requests a second over all connections. Undefined: a connection sends again as soon as it has its response. */
  rate?: number
}

/** `$key` in a body is a new UUID each time. */
export type HttpRequest = { path: string; token?: string; body: string }

export type HttpJob = Pace & {
  kind: 'http'
  url: string
  requests: HttpRequest[]
  /** A response with this text counts as a refusal, not as a fault. */
  refusal?: string
}

/** One prepared statement, over the wire protocol. Values are text; `$key` is a new UUID each time. */
export type SqlJob = Pace & { kind: 'sql'; url: string; setup: string[]; text: string; values: string[][] }

/** Checks a password as often as possible, without a server. */
export type PasswordJob = Pace & { kind: 'password'; hash: string; password: string }

export type Job = HttpJob | SqlJob | PasswordJob

export type Times = {
  count: number
  /** Responses a second. */
  rate: number
  /** In milliseconds. */
  p50: number
  p99: number
}

export type Load = Times & {
  refused?: Times
  /** Share of one core that the generator used. */
  cpu: number
  errors: number
  /** The first error. */
  fault?: string
}
