/** The load generator: a separate process that runs one job after another. */
import { setTimeout as sleep } from 'node:timers/promises'
import { verify } from '@node-rs/argon2'
import { type Connection, httpMessage, type Message, openHttp, openSql, sqlMessage } from './connections.ts'
import type { Cpu, Job, Load, Times, Warmup } from './jobs.ts'
import { cpuOf, cpuOfFamily } from './proc.ts'
import { isSteady, percentile, seededRandom } from './statistics.ts'

const KEY_SEED = 20_260_101

/** One sequence for all jobs, so that no key is used twice. */
const nextBits = seededRandom(KEY_SEED)
/** Ends the current job. */
let stop = () => {}

/** What a job has done so far. Only responses between `begin` and `end` are measured. */
type Progress = {
  begin: number
  end: number
  stopped: boolean
  /** Responses, from the start of the warm-up. */
  responses: number
  answered: number[]
  refused: number[]
  faults: string[]
}

function newKey(): string {
  const hex = () =>
    Math.floor(nextBits() * 4_294_967_296)
      .toString(16)
      .padStart(8, '0')
  const [a, b, c, d] = [hex(), hex(), hex(), hex()]
  return `${a}-${b.slice(0, 4)}-4${b.slice(5)}-8${c.slice(1, 4)}-${c.slice(4)}${d}`
}

async function openConnection(job: Job, number: number): Promise<Connection> {
  if (job.kind === 'http') return openHttp(job.urls[number % job.urls.length] ?? '')
  if (job.kind === 'sql') return openSql(job.url, { ...job, values: job.values[0] ?? [] })
  const exchange = async () =>
    (await verify(job.hash, job.password)) ? undefined : 'the password does not match'
  return { exchange, close: () => {} }
}

function messagesOf(job: Job): Message[] {
  if (job.kind === 'http') return job.requests.map(request => httpMessage(job.urls[0] ?? '', request))
  if (job.kind === 'sql') return job.values.map(sqlMessage)
  return [['']]
}

async function run(job: Job): Promise<Load> {
  const numbers = Array.from({ length: job.connections }, (_, number) => number)
  const connections = await Promise.all(numbers.map(number => openConnection(job, number)))
  const state: Progress = {
    begin: Number.POSITIVE_INFINITY,
    end: Number.POSITIVE_INFINITY,
    stopped: false,
    responses: 0,
    answered: [],
    refused: [],
    faults: [],
  }
  const next = selector(job)
  const sent = Promise.all(
    connections.map((connection, number) => sendRequests(job, state, { connection, number, next })),
  )
  const stopped = new Promise<void>(resolve => {
    stop = resolve
  })
  const used = await measure(job, state, Promise.race([sent, stopped]))
  state.stopped = true
  await sent
  for (const connection of connections) connection.close()
  const { answered, refused, faults } = state
  const seconds = (state.end - state.begin) / 1000
  const each = (milliseconds: number) => milliseconds / (answered.length + refused.length)
  return {
    ...timesOf(answered, seconds),
    ...(job.kind === 'http' && job.refusal !== undefined ? { refused: timesOf(refused, seconds) } : {}),
    cpu: Object.fromEntries(Object.entries(used).map(([name, value]) => [name, each(value)])) as Cpu,
    errors: faults.length,
    ...(faults[0] === undefined ? {} : { fault: faults[0] }),
  }
}

/** The next message of a job: a random one, or each once. */
function selector(job: Job): () => Message | undefined {
  const messages = messagesOf(job)
  const random = seededRandom(job.seed)
  let sent = 0
  return () => messages[job.once === true ? sent++ : Math.floor(random() * messages.length)]
}

type Sender = { connection: Connection; number: number; next: () => Message | undefined }

async function sendRequests(job: Job, state: Progress, { connection, number, next }: Sender): Promise<void> {
  const wait = pace(job, number)
  const refusal = job.kind === 'http' ? job.refusal : undefined
  while (!state.stopped) {
    const due = await wait()
    const message = next()
    if (due >= state.end || message === undefined) return
    const fault = await connection.exchange(message.reduce((text, part) => text + newKey() + part))
    const now = performance.now()
    const isRefused = refusal !== undefined && fault?.includes(refusal)
    if (fault !== undefined && !isRefused) {
      state.faults.push(fault)
      return
    }
    state.responses++
    if (now < state.begin || now > state.end) continue
    if (isRefused) state.refused.push(now - due)
    else state.answered.push(now - due)
  }
}

/** Warms up, sets `begin` and `end`, and returns the CPU time between them. */
async function measure(job: Job, state: Progress, ended: Promise<unknown>): Promise<Cpu> {
  const pause = (seconds: number) => Promise.race([sleep(seconds * 1000), ended])
  if (job.once !== true) await warmUp(job.warmup, state, pause)
  const before = cpuNow(job)
  state.begin = performance.now()
  if (job.once === true || job.seconds === undefined) await ended
  else await pause(job.seconds)
  state.end = performance.now()
  const after = cpuNow(job)
  const parts = Object.keys(after) as (keyof Cpu)[]
  return Object.fromEntries(parts.map(part => [part, (after[part] ?? 0) - (before[part] ?? 0)])) as Cpu
}

async function warmUp(
  { window, most }: Warmup,
  state: Progress,
  pause: (seconds: number) => Promise<unknown>,
): Promise<void> {
  const windows: number[] = []
  for (let passed = 0; passed < most && !isSteady(windows); passed += window) {
    const before = state.responses
    await pause(Math.min(window, most - passed))
    windows.push(state.responses - before)
  }
}

function cpuNow({ watched }: Job): Cpu {
  const { user, system } = process.cpuUsage()
  const api = watched === undefined || watched.api.length === 0 ? undefined : cpuOf(watched.api)
  const postgres = watched === undefined ? undefined : cpuOfFamily(watched.postmaster)
  return {
    ...(api === undefined ? {} : { api }),
    ...(postgres === undefined ? {} : { postgres }),
    generator: (user + system) / 1000,
  }
}

function timesOf(latencies: number[], seconds: number): Times {
  const sorted = Float64Array.from(latencies).sort()
  return {
    count: sorted.length,
    rate: sorted.length / seconds,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
  }
}

/** When the next request is due: at once, or at its time in an even flow, even if the previous request took longer. */
function pace({ rate, connections }: Job, number: number): () => Promise<number> {
  if (rate === undefined) return async () => performance.now()
  const began = performance.now()
  let sent = 0
  return async () => {
    const due = began + ((sent++ * connections + number) * 1000) / rate
    const early = due - performance.now()
    if (early <= 0) return due
    await sleep(early)
    return performance.now()
  }
}

process.on('message', async (message: Job | 'stop') => {
  if (message === 'stop') {
    stop()
    return
  }
  try {
    process.send?.({ load: await run(message) })
  } catch (error) {
    process.send?.({ error: String(error) })
  }
})
process.on('disconnect', () => process.exit())
// Ctrl-C reaches the whole process group, but the parent decides when this process ends
process.on('SIGINT', () => {})
