/** A log that a test can read. */
import { type Logger, makeLog } from '../../src/log.ts'
import { until } from './waits.ts'

export type LogLine = Record<string, unknown> & { msg: string }

export type RecordedLog = {
  log: Logger
  /** Takes a line that another process has logged. */
  write(line: string): void
  lines: LogLine[]
  /** Everything as it was written. */
  text(): string
  /** The line of a request, which is written once its answer is out. */
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
