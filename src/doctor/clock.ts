/** The clock of this machine against the database's: tokens and the crontab go by the one, quotas and prices by the other. */
import type { Check } from './check.ts'

const WARN_MS = 1_000
const FAIL_MS = 30_000
const ATTEMPTS = 3

export const clock: Check = {
  name: "clock: this machine's agrees with the database's",
  async run({ client, now }) {
    let skew = Number.POSITIVE_INFINITY
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const asked = now()
      const { rows } = await client.query<{ milliseconds: number }>(
        'select (extract(epoch from clock_timestamp()) * 1000)::double precision as milliseconds',
      )
      const answered = now()
      // it was read at some moment between the two: only what is outside of them is skew for sure
      const read = rows[0]?.milliseconds ?? 0
      skew = Math.min(skew, Math.max(asked - read, read - answered, 0))
    }
    if (skew <= WARN_MS) return []
    return [
      {
        verdict: skew > FAIL_MS ? 'FAIL' : 'WARN',
        finding: `the clocks differ by ${(skew / 1000).toFixed(1)} s`,
        remedy: 'let both machines keep time by NTP (chronyc tracking)',
      },
    ]
  },
}
