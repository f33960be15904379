/** Records the SQL statements that the API sends. It reads the wire, so no client library or protocol can hide one. */
import { type Relay, startRelay } from './relay.ts'

export type Statements = {
  relay: Relay
  /** The statements of connections with this name, such as `forecourt api`, since the last call. */
  take(name: string): string[]
}

type Connection = {
  name: string | undefined
  rest: Buffer
  prepared: Map<string, string>
  bound: string
}

const HEADER = 5

/** A relay to the database that records what passes. */
export async function listenToStatements(databaseUrl: string): Promise<Statements> {
  const connections = new WeakMap<object, Connection>()
  let sent: { name: string; text: string }[] = []
  const relay = await startRelay(databaseUrl, (chunk, key) => {
    const connection = connections.get(key) ?? newConnection()
    connections.set(key, connection)
    connection.rest = Buffer.concat([connection.rest, chunk])
    for (const text of read(connection)) sent.push({ name: connection.name ?? '', text })
  })
  return {
    relay,
    take(name) {
      const taken = sent.filter(statement => statement.name === name)
      sent = sent.filter(statement => statement.name !== name)
      return taken.map(({ text }) => text)
    },
  }
}

function newConnection(): Connection {
  return { name: undefined, rest: Buffer.alloc(0), prepared: new Map(), bound: '' }
}

/** Takes every complete message from `rest` and yields the statements that they run. */
function* read(connection: Connection): Generator<string> {
  for (;;) {
    const { rest } = connection
    // the first message of a connection has no type byte
    const head = connection.name === undefined ? HEADER - 1 : HEADER
    if (rest.length < head) return
    const end = head - 4 + rest.readInt32BE(head - 4)
    if (rest.length < end) return
    connection.rest = rest.subarray(end)
    const body = rest.subarray(head, end)
    if (connection.name === undefined) connection.name = nameOf(body)
    else yield* run(connection, String.fromCharCode(rest[0] ?? 0), body)
  }
}

function* run(connection: Connection, type: string, body: Buffer): Generator<string> {
  const [first = '', second = ''] = body.toString().split('\0')
  // Q is a simple query. The extended protocol parses a statement under a name (P), binds it (B) and executes it (E).
  if (type === 'Q') yield first
  if (type === 'P') connection.prepared.set(first, second)
  if (type === 'B') connection.bound = connection.prepared.get(second) ?? second
  if (type === 'E') yield connection.bound
}

/** `application_name` of the startup message. */
function nameOf(startup: Buffer): string {
  const words = startup.subarray(4).toString().split('\0')
  return words[words.indexOf('application_name') + 1] ?? ''
}
