/** Counts requests by key. */

export type Tally = {
  add(keys: readonly string[]): void
  remove(keys: readonly string[]): void
  of(key: string): number
  largest(): { key: string | undefined; count: number }
}

export function makeTally(): Tally {
  // only keys of requests that run or queue now, so that no client can fill the map
  const counts = new Map<string, number>()
  const of = (key: string) => counts.get(key) ?? 0
  return {
    add(keys) {
      for (const key of keys) counts.set(key, of(key) + 1)
    },
    remove(keys) {
      for (const key of keys) {
        if (of(key) > 1) counts.set(key, of(key) - 1)
        else counts.delete(key)
      }
    },
    of,
    largest() {
      let largest: { key: string | undefined; count: number } = { key: undefined, count: 0 }
      for (const [key, count] of counts) if (count > largest.count) largest = { key, count }
      return largest
    },
  }
}
