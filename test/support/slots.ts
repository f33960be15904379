/** Test helpers for the slots of requests. */
import { type Entry, makeSlots } from '../../src/http/slots.ts'

/** Slots on a clock that the test moves, and named requests that record their admission and their refusal. */
export function openSlots(slots = 2, connections = slots) {
  let time = 0
  const admitted: string[] = []
  const refused: string[] = []
  const { enter, leave, freeConnection, useConnection, ...rest } = makeSlots(
    { slots, connections },
    () => time,
  )
  const entries = new Map<string, Entry>()
  const enterAs = (keys: string[], ...names: string[]) =>
    names.map(name => {
      const entry = { keys, admit: () => void admitted.push(name), refuse: () => void refused.push(name) }
      entries.set(name, entry)
      return enter(entry)
    })
  return {
    ...rest,
    admitted,
    refused,
    /** Requests that share no key. */
    enter: (...names: string[]) => names.flatMap(name => enterAs([], name)),
    enterAs,
    leave: (name: string) => leave(entries.get(name) as Entry),
    useConnection: (name: string) => useConnection(entries.get(name) as Entry),
    freeConnection: (name: string) => freeConnection(entries.get(name) as Entry),
    pass(milliseconds: number) {
      time += milliseconds
    },
  }
}

export const names = (count: number, prefix = 'b') =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`)
