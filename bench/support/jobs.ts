/** The jobs of the load generator, and their results. */

/**
 * The time before a measurement, in seconds. It ends when the rates of two successive windows differ by less than 5 %, at the
 * latest after `most`.
 */
export type Warmup = { window: number; most: number }

/** How much is sent and for how long. The requests of `warmup` are not counted. */
export type Pace = {
  connections: number
  warmup: Warmup
  /** Undefined: until the job is stopped. */
  seconds?: number
  /** Selects the requests: the same for every side of a round. */
  seed: number
  /** Requests a second over all connections. Undefined: a connection sends again as soon as it has its response. */
  rate?: number
  /** Sends each request once, in order, and ends, whatever `warmup` and `seconds` say. */
  once?: boolean
  watched?: Watched
}

/** The processes whose CPU time is measured. */
export type Watched = { api: number[]; postmaster: number }

/** `$key` in a body is a new UUID each time. */
export type HttpRequest = { path: string; token?: string; body: string }

export type HttpJob = Pace & {
  kind: 'http'
  /** The connections are spread over them. */
  urls: string[]
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

/** Milliseconds of CPU for each response, refusals included. Those of other processes need Linux's /proc. */
export type Cpu = { api?: number; postgres?: number; generator: number }

export type Load = Times & {
  refused?: Times
  cpu: Cpu
  errors: number
  /** The first error. */
  fault?: string
}
