/**
 * What overload does: publications over as many connections as the server has places, one after another, which is its
 * capacity; then ten times that rate over ten times as many connections. Prints rates, times and the processor time of the API
 * for what was accepted and what was refused. `node bench/overload.ts [seconds]`
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { argumentsOf, projectDirectory } from '../scripts/support/commands.ts'
import { startEmbedded } from '../src/database/embedded.ts'
import { migrate } from '../src/database/migrate.ts'
import { makeTokens } from '../src/http/tokens.ts'

const SECRET = 'a secret of a benchmark, long enough'
const DEALERS = 2_000
const CONNECTIONS = 20
const ROUNDS = 3
const seconds = Number(process.argv[2] ?? 10)

const QUERY = `mutation ($input: CreateListingInput!) {
  createListing(input: $input) { listing { id status consumption { source grossAmount } } }
}`

type Seller = { dealerId: string; token: string }
type Times = { accepted: number[]; refused: number[]; other: number; processor: number }

async function makeSellers(ownerUrl: string): Promise<Seller[]> {
  const owner = new pg.Client({ connectionString: ownerUrl })
  await owner.connect()
  await owner.query("update app_public.rate_limit_policies set mode = 'off'")
  await owner.query("insert into app_public.currencies values ('EUR', 2) on conflict do nothing")
  await owner.query("insert into app_public.country_currencies values ('DE', 'EUR') on conflict do nothing")
  await owner.query(
    "insert into app_public.vat_rates (country, rate, valid) values ('DE', 19, '[2020-01-01,)')",
  )
  await owner.query("select app_private.set_price('DE', 'dealer', 'pay_per_listing', 5, '2020-01-01')")
  const { rows } = await owner.query<{ user_id: string; dealer_id: string }>(
    `with users as (
       select (app_public.register_user(format('%s@example.com', n), 'Seller', '$argon2id$none')).user_id
       from generate_series(1, $1) as n
     ), dealers as (
       insert into app_public.dealers (company_name, country, dealer_type)
       select 'Dealer', 'DE', 'auto_dealer' from generate_series(1, $1) returning id
     )
     insert into app_public.dealer_users (dealer_id, user_id, role)
     select d.id, u.user_id, 'owner'
     from (select id, row_number() over () as n from dealers) as d
     join (select user_id, row_number() over () as n from users) as u using (n)
     returning user_id, dealer_id`,
    [DEALERS],
  )
  await owner.end()
  const tokens = makeTokens(SECRET)
  return Promise.all(
    rows.map(async ({ user_id, dealer_id }) => ({
      dealerId: dealer_id,
      token: (await tokens.issue({ userId: user_id, role: 'dealer' })).accessToken,
    })),
  )
}

async function startApi(databaseUrl: string): Promise<{ child: ChildProcess; port: number }> {
  const env = {
    ...process.env,
    PORT: '0',
    DATABASE_URL: databaseUrl,
    JWT_SECRET: SECRET,
    NODE_ENV: 'production',
  }
  const child = spawn(process.execPath, argumentsOf('api'), {
    cwd: projectDirectory,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', text => {
    if (output.length < 10_000) output += text
  })
  while (!output.includes('Stop  ')) {
    if (child.exitCode !== null) throw new Error(`the API has not started:\n${output}`)
    await sleep(50)
  }
  return { child, port: Number(/:(\d+)\/graphql/.exec(output)?.[1]) }
}

/** What a seller sends, before and after the key that is new each time: the generator is to take little of the processors. */
function requestOf({ dealerId, token }: Seller): [string, string] {
  const input = {
    dealerId,
    title: 'A car',
    module: 'auto',
    price: '9900',
    currency: 'EUR',
    idempotencyKey: '00000000-0000-0000-0000-000000000000',
  }
  const body = JSON.stringify({ query: QUERY, variables: { input } })
  const text = [
    'POST /graphql HTTP/1.1',
    'host: localhost',
    'content-type: application/json',
    `authorization: Bearer ${token}`,
    `content-length: ${Buffer.byteLength(body)}`,
    '',
    body,
  ].join('\r\n')
  const [before = '', after = ''] = text.split(input.idempotencyKey)
  return [before, after]
}

/** Sends requests over one connection, one after another; gives the status of each. */
async function connectTo(port: number): Promise<{ send(text: string): Promise<string>; close(): void }> {
  const socket = connect(port, '127.0.0.1').setNoDelay().setEncoding('latin1')
  await once(socket, 'connect')
  let text = ''
  let answered = (_status: string) => {}
  socket.on('data', chunk => {
    text += chunk
    const head = text.indexOf('\r\n\r\n')
    if (head < 0) return
    const length = Number(/content-length: (\d+)/i.exec(text)?.[1])
    if (text.length < head + 4 + length) return
    const status = text.slice(9, 12)
    text = ''
    answered(status)
  })
  return {
    send: request =>
      new Promise(resolve => {
        answered = resolve
        socket.write(request)
      }),
    close: () => socket.destroy(),
  }
}

/** One connection that sends a request every so many milliseconds; 0: as soon as it has an answer. */
async function client(
  port: number,
  requests: [string, string][],
  interval: number,
  until: () => boolean,
  times: Times,
): Promise<void> {
  const connection = await connectTo(port)
  let due = performance.now() + Math.random() * interval
  while (!until()) {
    const wait = due - performance.now()
    if (wait > 0) await sleep(wait)
    due = Math.max(due + interval, performance.now() - interval)
    const startedAt = performance.now()
    const [before, after] = requests[Math.floor(Math.random() * requests.length)] as [string, string]
    const status = await connection.send(before + randomUUID() + after)
    const took = performance.now() - startedAt
    if (status === '200') times.accepted.push(took)
    else if (status === '503') times.refused.push(took)
    else times.other += 1
  }
  connection.close()
}

/** Of the API so far, in seconds. */
async function processorTime(port: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  return Number(/^process_cpu_seconds_total (\S+)/m.exec(text)?.[1])
}

async function load(
  port: number,
  requests: [string, string][],
  connections: number,
  rate = 0,
): Promise<Times> {
  const times: Times = { accepted: [], refused: [], other: 0, processor: 0 }
  const settled: Times = { accepted: [], refused: [], other: 0, processor: 0 }
  let phase = times
  let ended = false
  const record: Times = {
    accepted: { push: (took: number) => phase.accepted.push(took) } as unknown as number[],
    refused: { push: (took: number) => phase.refused.push(took) } as unknown as number[],
    other: 0,
    processor: 0,
  }
  const clients = Array.from({ length: connections }, () =>
    client(port, requests, rate && (1000 * connections) / rate, () => ended, record),
  )
  // a burst is let in at first; what counts is what follows
  await sleep(1_500)
  phase = settled
  const before = await processorTime(port)
  await sleep(seconds * 1000)
  settled.processor = (await processorTime(port)) - before
  ended = true
  await Promise.all(clients)
  return { ...settled, other: record.other }
}

function quantile(sorted: number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

function show(name: string, { accepted, refused, other, processor }: Times): void {
  const line = (kind: string, list: number[]) => {
    const sorted = list.toSorted((one, two) => one - two)
    const [p50, p99, worst] = [0.5, 0.99, 1].map(share => quantile(sorted, share).toFixed(1))
    const rate = Math.round(sorted.length / seconds)
    process.stdout.write(
      `${name.padEnd(10)} ${kind.padEnd(8)} ${rate}/s, p50 ${p50}, p99 ${p99}, most ${worst} ms\n`,
    )
  }
  line('accepted', accepted)
  if (refused.length > 0) line('refused', refused)
  const each = (1e6 * processor) / (accepted.length + refused.length)
  process.stdout.write(
    `${name.padEnd(10)} ${Math.round(each)} us of processor time an answer, ${(processor / seconds).toFixed(2)} processors\n`,
  )
  if (other > 0) process.stdout.write(`${name} other answers: ${other}\n`)
}

const directory = mkdtempSync(join(tmpdir(), 'forecourt-overload-'))
const server = await startEmbedded({ directory, log: () => {} })
try {
  await migrate({ databaseUrl: server.ownerUrl, includeCurrent: true, log: () => {} })
  const requests = (await makeSellers(server.ownerUrl)).map(requestOf)
  const { child, port } = await startApi(server.ownerUrl)
  try {
    await load(port, requests, CONNECTIONS)
    for (let round = 0; round < ROUNDS; round += 1) {
      if (round > 0) await sleep(10_000)
      const capacity = await load(port, requests, CONNECTIONS)
      show('capacity', capacity)
      const rate = (10 * capacity.accepted.length) / seconds
      show('overload', await load(port, requests, 10 * CONNECTIONS, rate))
    }
  } finally {
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
} finally {
  await server.stop()
  rmSync(directory, { recursive: true, force: true })
}
