/** Switches rate limits on and off while a server runs. The limits are so high that every request is checked and passes. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from './cluster.ts'
import type { Side } from './sides.ts'

/** A change of the table takes effect within a second. */
const EFFECT_MS = 1_200

export async function switchLimits({ superuser }: Database, mode: 'enforce' | 'off'): Promise<void> {
  const { rowCount } = await superuser.query(
    `update app_public.rate_limit_policies
     set mode = $1::app_public.rate_limit_mode, max_count = case when scope = 'auth_account' then max_count else 1000000 end
     where mode <> $1::app_public.rate_limit_mode`,
    [mode],
  )
  if (rowCount !== 0) await sleep(EFFECT_MS)
}

/** The side with its limits on. They are off before and afterwards. */
export function withLimits(database: Database, side: Side): Side {
  return async seed => {
    await switchLimits(database, 'enforce')
    try {
      return await side(seed)
    } finally {
      await switchLimits(database, 'off')
    }
  }
}
