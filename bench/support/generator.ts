/** The load generator: a separate process that runs one job after another. */
import { verify } from '@node-rs/argon2'
import { type Connection, httpMessage, type Message, openHttp, openSql, sqlMessage } from './connections.ts'
import type { Job, Load, Times } from './jobs.ts'
import { percentile, seededRandom } from './statistics.ts'

const KEY_SEED = 20_260_101

/** One sequence for all jobs, so that no key is used twice. */
const nextBits = seededRandom(KEY_SEED)
let stopped = false

function newKey(): string {
  const hex = () =>
    Math.floor(nextBits() * 4_294_967_296)
      .toString(16)
      .padStart(8, '0')
  const [a, b, c, d] = [hex(), hex(), hex(), hex()]
  return `${a}-${b.slice(0, 4)}-4${b.slice(5)}-8${c.slice(1, 4)}-${c.slice(4)}${d}`
}

async function openConnection(job: Job): Promise<Connection> {
  if (job.kind === 'http') return openHttp(job.url)
  if (job.kind === 'sql') return openSql(job.url, { ...job, values: job.values[0] ?? [] })
  const exchange = async () =>
    (await verify(job.hash, job.password)) ? undefined : 'the password does not match'
  return { exchange, close: () => {} }
}

function messagesOf(job: Job): Message[] {
  if (job.kind === 'http') return job.requests.map(request => httpMessage(job.url, request))
  if (job.kind === 'sql') return job.values.map(sqlMessage)
  return [['']]
}

async function run(job: Job): Promise<Load> {
  stopped = false
  const connections = await Promise.all(Array.from({ length: job.connections }, () => openConnection(job)))
  const messages = messagesOf(job)
  const random = seededRandom(job.seed)
  const answered: number[] = []
  const refused: number[] = []
  const refusal = job.kind === 'http' ? job.refusal : undefined
  const faults: string[] = []
  const begin = performance.now() + job.warmup * 1000
  const end = job.seconds === undefined ? Number.POSITIVE_INFINITY : begin + job.seconds * 1000
  let cpu = process.cpuUsage()
  setTimeout(() => {
    cpu = process.cpuUsage()
  }, job.warmup * 1000)

  const sendRequests = async (connection: Connection, number: number) => {
    const wait = pace(job, number)
    while (!stopped) {
      const due = await wait()
      if (due >= end) return
      const [before, after] = messages[Math.floor(random() * messages.length)] ?? ['']
      const fault = await connection.exchange(after === undefined ? before : before + newKey() + after)
      const now = performance.now()
      const isRefused = refusal !== undefined && fault?.includes(refusal)
      if (fault !== undefined && !isRefused) {
        faults.push(fault)
        return
      }
      if (now < begin || now > end) continue
      if (isRefused) refused.push(now - due)
      else answered.push(now - due)
    }
  }
  await Promise.all(connections.map(sendRequests))
  const seconds = (Math.min(end, performance.now()) - begin) / 1000
  const { user, system } = process.cpuUsage(cpu)
  for (const connection of connections) connection.close()
  return {
    ...timesOf(answered, seconds),
    ...(refusal === undefined ? {} : { refused: timesOf(refused, seconds) }),
    cpu: (user + system) / 1_000_000 / seconds,
    errors: faults.length,
    ...(faults[0] === undefined ? {} : { fault: faults[0] }),
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
    await new Promise(resolve => setTimeout(resolve, early))
    return performance.now()
  }
}

process.on('message', async (message: Job | 'stop') => {
  if (message === 'stop') {
    stopped = true
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
