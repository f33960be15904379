/** The log: one JSON object a line. */
import { type DestinationStream, type Logger, pino } from 'pino'

export type { Logger }

/** Makes the process's log. Nothing that names a secret or a person by its key gets through, whoever logs it. */
export function makeLog(level: string, destination?: DestinationStream): Logger {
  const secret = ['authorization', 'password', 'token', 'accessToken', 'email', 'cookie', 'connectionString']
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: secret.flatMap(key => [key, `*.${key}`, `*.*.${key}`]), censor: '[redacted]' },
  }
  return destination === undefined ? pino(options) : pino(options, destination)
}
