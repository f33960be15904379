/** The deadline of a charge. While the database responds to other requests, the charge only queues, so the deadline moves. */

/** Longest wait in total, even if the database responds to others. */
const LONGEST_WAIT_MS = 1_000

/** `expired`: nobody waits for the result, so work that has not started must not start. Only a timeout calls `onExpired`. */
export type Attempt = { expired: boolean; onExpired?: () => void }

export type WithDeadline = <Value>(work: (attempt: Attempt) => Promise<Value>) => Promise<Value>

/** Rejects with the code ETIMEDOUT when the database has responded to nobody for `silenceMs`, or after LONGEST_WAIT_MS. */
export function makeDeadline(silenceMs: number): WithDeadline {
  const longest = Math.max(LONGEST_WAIT_MS, silenceMs)
  let respondedAt = 0
  return work =>
    new Promise((resolve, reject) => {
      const startedAt = performance.now()
      const attempt: Attempt = { expired: false }
      let timer: NodeJS.Timeout | undefined
      const check = () => {
        if (attempt.expired) return
        const now = performance.now()
        const left = Math.min(Math.max(startedAt, respondedAt) + silenceMs - now, startedAt + longest - now)
        // if this process was busy, a response may already be in the socket: setImmediate lets Node read it first
        if (left > 0) timer = setTimeout(() => setImmediate(check), left)
        else expire()
      }
      const expire = () => {
        attempt.expired = true
        reject(Object.assign(new Error('the database does not respond'), { code: 'ETIMEDOUT' }))
        attempt.onExpired?.()
      }
      work(attempt).then(
        value => {
          clearTimeout(timer)
          respondedAt = performance.now()
          attempt.expired = true
          resolve(value)
        },
        error => {
          clearTimeout(timer)
          attempt.expired = true
          reject(error)
        },
      )
      check()
    })
}
