/** Compares the clock of this machine, which tokens and the crontab use, with the database's, which quotas and prices use. */
import type { Check } from './finding.ts'

const WARN_MS = 1_000
const FAIL_MS = 30_000
const ATTEMPTS = 3

export const clock: Check = {
  name: 'clock: this machine and the database agree',
  async run({ client, now }) {
    let skew = Number.POSITIVE_INFINITY
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const asked = now()
      const { rows } = await client.query<{ milliseconds: number }>(
        'select (extract(epoch from clock_timestamp()) * 1000)::double precision as milliseconds',
      )
      const received = now()
      // the database read its clock between the two moments, so only a time outside of them proves skew
      const read = rows[0]?.milliseconds ?? 0
      skew = Math.min(skew, Math.max(asked - read, read - received, 0))
    }
    if (skew <= WARN_MS) return []
    return [
      {
        verdict: skew > FAIL_MS ? 'FAIL' : 'WARN',
        finding: `the clocks differ by ${(skew / 1000).toFixed(1)} s`,
        remedy: 'synchronise both machines by NTP (chronyc tracking)',
      },
    ]
  },
}
