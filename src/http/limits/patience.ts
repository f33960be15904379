/** How long a request waits for its charges: as long as the database answers anybody, and no longer. */

/** Longest wait while it answers others, in milliseconds. */
const WAIT_MS = 1_000

export type Waiting = { givenUp: boolean }

export type Patience = <Value>(work: (waiting: Waiting) => Promise<Value>) => Promise<Value>

/** `silence`: longest that the database says nothing, in milliseconds. The rejection of one that was given up has the code ETIMEDOUT. */
export function makePatience(silence: number): Patience {
  const longest = Math.max(WAIT_MS, silence)
  let answeredAt = 0
  return work =>
    new Promise((resolve, reject) => {
      const startedAt = performance.now()
      const waiting = { givenUp: false }
      let timer: NodeJS.Timeout | undefined
      const look = () => {
        if (waiting.givenUp) return
        const now = performance.now()
        const left = Math.min(Math.max(startedAt, answeredAt) + silence - now, startedAt + longest - now)
        // an answer may have arrived already, behind what kept this process busy: it is read before the check
        if (left > 0) timer = setTimeout(() => setImmediate(look), left)
        else giveUp()
      }
      const giveUp = () => {
        waiting.givenUp = true
        reject(Object.assign(new Error('the database is silent'), { code: 'ETIMEDOUT' }))
      }
      const answered = () => {
        clearTimeout(timer)
        answeredAt = performance.now()
      }
      work(waiting).then(
        value => {
          answered()
          waiting.givenUp = true
          resolve(value)
        },
        error => {
          clearTimeout(timer)
          waiting.givenUp = true
          reject(error)
        },
      )
      look()
    })
}
