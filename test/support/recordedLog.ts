/** A log that keeps its lines for a test to read. */
import { type Logger, makeLog } from '../../src/log.ts'
import { until } from './waits.ts'

export type LogLine = Record<string, unknown> & { msg: string }

export type RecordedLog = {
  log: Logger
  /** Adds a line that another process logged. */
  write(line: string): void
  lines: LogLine[]
  /** The whole log as it was written. */
  text(): string
  /** Waits for the line of a request: it is written after the response is sent. */
  request(requestId: string | null): Promise<LogLine>
}

export function recordLog(level = 'trace'): RecordedLog {
  const lines: LogLine[] = []
  let written = ''
  const write = (line: string) => {
    written += line
    lines.push(JSON.parse(line))
  }
  const find = (id: string | null) => lines.find(line => line.msg === 'request' && line.requestId === id)
  return {
    log: makeLog(level, { write }),
    write,
    lines,
    text: () => written,
    async request(id) {
      await until(`the request ${id} is logged`, () => find(id) !== undefined)
      return find(id) as LogLine
    },
  }
}
