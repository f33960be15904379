/** The queue for a slot, in the order of arrival, and which key dominates it. */
import { makeTally } from './tally.ts'

/** A key with more than this part of the queue dominates it. */
const DOMINANT_PART = 1 / 4

export type Entry = {
  /** The sender, and the rows that the request names. */
  readonly keys: readonly string[]
  /** Called when the request gets a slot, now or later. */
  admit(): void
  /** Called when a full queue drops the request for one of another key. */
  refuse(): void
}

export type Queue = {
  size(): number
  entries(): Iterable<Entry>
  add(entry: Entry): void
  /** Returns false if the entry is not in the queue. */
  remove(entry: Entry): boolean
  /** The key with the most queued requests, if it dominates the queue. */
  dominantKey(): string | undefined
  newestOf(key: string): Entry | undefined
}

export function makeQueue(): Queue {
  // a Set keeps the order of arrival and removes any entry in constant time
  const entries = new Set<Entry>()
  const tally = makeTally()
  return {
    size: () => entries.size,
    entries: () => entries,
    add(entry) {
      entries.add(entry)
      tally.add(entry.keys)
    },
    remove(entry) {
      if (!entries.delete(entry)) return false
      tally.remove(entry.keys)
      return true
    },
    dominantKey() {
      const { key, count } = tally.largest()
      return count > 1 && count > entries.size * DOMINANT_PART ? key : undefined
    },
    newestOf: key => [...entries].findLast(({ keys }) => keys.includes(key)),
  }
}
