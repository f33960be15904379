/** The slots for requests, on a clock that the test moves. */
import { expect, test } from '@jest/globals'
import { type Entry, makeSlots } from '../../src/http/slots.ts'

/** Slots, and named requests that record their admission and their refusal. */
function open(slots = 2, connections = slots) {
  let time = 0
  const admitted: string[] = []
  const refused: string[] = []
  const { enter, leave, ...rest } = makeSlots({ slots, connections }, () => time)
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
    pass(milliseconds: number) {
      time += milliseconds
    },
  }
}

const names = (count: number, prefix = 'b') =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`)

test('requests are admitted up to the number of slots, and the others queue in the order of arrival', () => {
  const { enter, leave, admitted, inUse, queued } = open()
  expect(enter('a', 'b', 'c', 'd')).toEqual([true, true, true, true])
  expect([admitted, inUse(), queued()]).toEqual([['a', 'b'], 2, 2])
  leave('b')
  expect([admitted, inUse(), queued()]).toEqual([['a', 'b', 'c'], 2, 1])
  for (const name of ['a', 'c', 'd']) leave(name)
  expect([admitted, inUse(), queued()]).toEqual([['a', 'b', 'c', 'd'], 0, 0])
})

test('a request that leaves the queue is not admitted, and the others keep their order', () => {
  const { enter, leave, admitted, inUse, queued } = open()
  enter('a', 'b', 'c', 'd')
  leave('c')
  leave('a')
  expect([admitted, inUse(), queued()]).toEqual([['a', 'b', 'd'], 2, 0])
})

test('a burst may queue ten requests a slot, and no more', () => {
  const { enter, refuseIfFull } = open()
  enter('a', 'b')
  expect(enter(...names(20))).not.toContain(false)
  expect(refuseIfFull()).toBe(true)
  expect(enter('too late')).toEqual([false])
})

test('a queue older than half a second may hold as many requests as there are slots', () => {
  const { enter, leave, refuseIfFull, pass, queued } = open(4)
  enter(...names(4), 'c')
  pass(500)
  expect(enter('d', 'e', 'f')).toEqual([true, true, true])
  leave('b0')
  expect([refuseIfFull(), queued()]).toEqual([false, 3])
  expect(enter('g', 'refused')).toEqual([true, false])
})

/** Four slots in an overload: a full queue older than half a second, and refusals over half a second. */
function overload() {
  const slots = open(4)
  slots.enter(...names(4), 'c')
  slots.pass(500)
  expect(slots.enter('d', 'e', 'f', 'refused')).toEqual([true, true, true, false])
  slots.pass(500)
  expect(slots.enter('refused')).toEqual([false])
  return slots
}

test('in an overload half of the slots are used, and one request may queue', () => {
  const { enter, leave, inUse, queued, admitted } = overload()
  for (const name of names(2)) leave(name)
  expect([inUse(), queued()]).toEqual([2, 4])
  leave('b2')
  expect([inUse(), queued(), admitted.at(-1)]).toEqual([2, 3, 'c'])
  for (const name of ['b3', 'c']) leave(name)
  expect([inUse(), queued(), admitted.slice(-2)]).toEqual([2, 1, ['d', 'e']])
  expect(enter('g')).toEqual([false])
  leave('d')
  expect(enter('g', 'h')).toEqual([true, false])
})

test('an overload ends after ten seconds: all slots are used in the order of the queue, and as many requests may queue as there are slots', () => {
  const { enter, leave, pass, inUse, queued, admitted } = overload()
  pass(9_999)
  expect(enter('g')).toEqual([false])
  for (const name of names(3)) leave(name)
  expect([inUse(), queued()]).toEqual([2, 3])
  pass(1)
  expect(enter('g')).toEqual([true])
  expect([inUse(), queued(), admitted.slice(-2)]).toEqual([4, 2, ['d', 'e']])
  expect(enter('h', 'i', 'j')).toEqual([true, true, false])
})

test('an overload allows no burst', () => {
  const { enter, leave, pass, queued } = overload()
  for (const name of [...names(4), 'c', 'd', 'e', 'f']) leave(name)
  pass(2_000)
  expect(enter('g', 'h', 'i', 'j')).toEqual([true, true, true, false])
  expect(queued()).toBe(1)
})

test('a burst that is too large is refused in part, and starts no overload', () => {
  const { enter, leave, pass, inUse, queued } = open(2)
  enter('a', 'b')
  expect(enter(...names(21)).filter(entered => !entered)).toEqual([false])
  pass(499)
  expect(enter('c')).toEqual([false])
  leave('a')
  expect([inUse(), queued()]).toEqual([2, 19])
})

test('after a short stall a long queue causes refusals until it is short again, but no overload', () => {
  const { enter, leave, pass, inUse } = open(2)
  enter('a', 'b', ...names(15))
  pass(500)
  expect(enter('c')).toEqual([false])
  pass(400)
  expect(enter('d')).toEqual([false])
  for (const name of ['a', 'b', ...names(14)]) leave(name)
  expect([enter('e'), inUse()]).toEqual([[true], 2])
})

test('after a refusal the next burst is allowed once no request was refused for a second', () => {
  const { enter, leave, pass } = open(1)
  enter('a', 'b')
  pass(500)
  expect(enter('refused')).toEqual([false])
  leave('a')
  leave('b')
  pass(499)
  expect(enter('c', 'd', 'no burst')).toEqual([true, true, false])
  leave('c')
  leave('d')
  pass(1_000)
  expect(enter('e', 'f', 'g')).toEqual([true, true, true])
})

test('a process with one slot lets one request queue, even in an overload', () => {
  const { enter, leave, pass } = open(1)
  enter('a')
  pass(10_000)
  expect(enter('b')).toEqual([true])
  pass(500)
  expect(enter('c')).toEqual([false])
  leave('a')
  expect(enter('d', 'e')).toEqual([true, false])
})

test.each([
  [1, 1],
  [2, 1],
  [3, 2],
  [4, 2],
  [10, 6],
  [16, 10],
])('of %i slots, one key takes %i, and requests of other keys take the rest', (slots, share) => {
  const { enter, enterAs, inUse, queued } = open(slots)
  enterAs(['a'], ...names(slots, 'a'))
  expect([inUse(), queued()]).toEqual([share, slots - share])
  enter(...names(slots - share))
  expect([inUse(), queued()]).toEqual([slots, slots - share])
})

test('several keys that take all they can leave slots for others: of 10 slots, two keys take 4 each', () => {
  const { enterAs, enter, inUse, admitted } = open(10)
  enterAs(['a'], ...names(3, 'a'))
  enterAs(['b'], ...names(20, 'b'))
  enterAs(['a'], ...names(20, 'aa'))
  expect(inUse()).toBe(8)
  enter('c', 'd')
  expect(admitted.slice(-2)).toEqual(['c', 'd'])
})

test('a request with several keys needs room in the share of each', () => {
  const { enterAs, admitted } = open(4)
  enterAs(['dealer', 'user 1'], 'a')
  enterAs(['dealer', 'user 2'], 'b')
  enterAs(['dealer', 'user 3'], 'c')
  enterAs(['other dealer', 'user 1'], 'd')
  expect(admitted).toEqual(['a', 'b', 'd'])
})

test('with fewer connections than slots, the share of a key is one of the connections', () => {
  const { enterAs, enter, inUse } = open(16, 10)
  enterAs(['a'], ...names(16, 'a'))
  expect(inUse()).toBe(6)
  enter(...names(10))
  expect(inUse()).toBe(16)
})

test('requests over their share are overtaken, and admitted in their order when their key gives a slot back', () => {
  const { enterAs, enter, leave, admitted } = open(4)
  enterAs(['a'], 'a1', 'a2', 'a3', 'a4')
  enter('b')
  expect(admitted).toEqual(['a1', 'a2', 'b'])
  leave('b')
  expect(admitted).toEqual(['a1', 'a2', 'b'])
  leave('a1')
  leave('a2')
  expect(admitted).toEqual(['a1', 'a2', 'b', 'a3', 'a4'])
})

test('a key without a slot gets the next one, however many other keys wait', () => {
  const { enterAs, enter, leave, admitted } = open(2)
  enter('a', 'b')
  enterAs(['c'], 'c1', 'c2')
  enter('d')
  leave('a')
  leave('b')
  expect(admitted).toEqual(['a', 'b', 'c1', 'd'])
  leave('d')
  expect(admitted).toEqual(['a', 'b', 'c1', 'd'])
  leave('c1')
  expect(admitted.at(-1)).toBe('c2')
})

test('while a slot is free, ten requests a slot may queue for their share at any time, and more are no overload', () => {
  const { enterAs, refuseIfFull, pass, queued, inUse, enter } = open(10)
  enterAs(['a'], ...names(6, 'a'), 'queued')
  pass(500)
  expect(enterAs(['a'], ...names(99, 'more'))).not.toContain(false)
  expect(queued()).toBe(100)
  for (let count = 0; count < 5; count += 1) {
    expect(enterAs(['a'], 'refused')).toEqual([false])
    expect(refuseIfFull()).toBe(false)
    pass(250)
  }
  enter(...names(4))
  expect(inUse()).toBe(10)
})

/** All four slots are in use, and the queue, older than a burst, is full of requests of the key `a`. */
function crowded() {
  const slots = open(4)
  slots.enterAs(['a'], 'a1', 'a2', 'a3', 'a4', 'a5', 'a6')
  slots.enter('b1', 'b2')
  slots.pass(500)
  expect([slots.inUse(), slots.queued()]).toEqual([4, 4])
  return slots
}

test('a full queue drops the newest requests of the key that has most of it, for requests of other keys', () => {
  const { enter, refuseIfFull, refused, queued } = crowded()
  expect(refuseIfFull()).toBe(false)
  expect(enter('c', 'd', 'e')).toEqual([true, true, true])
  expect([refused, queued()]).toEqual([['a6', 'a5', 'a4'], 4])
  expect(refuseIfFull()).toBe(true)
  expect(enter('f')).toEqual([false])
})

test('a key that has most of a full queue is refused, and this starts no overload', () => {
  const { enterAs, enter, leave, pass, inUse, refused } = crowded()
  for (let count = 0; count < 5; count += 1) {
    expect(enterAs(['a', 'user'], 'too many')).toEqual([false])
    pass(250)
  }
  expect(refused).toEqual([])
  leave('b1')
  leave('b2')
  enter('c', 'd')
  expect(inUse()).toBe(4)
})

test('a request that was dropped from the queue is forgotten, and its key can use its share again', () => {
  const { enter, enterAs, leave, admitted, inUse, queued } = crowded()
  enter('c')
  for (const name of ['a1', 'a2', 'b1', 'b2', 'a3', 'a4', 'a5', 'c']) leave(name)
  expect([inUse(), queued()]).toEqual([0, 0])
  enterAs(['a'], 'x', 'y', 'z')
  expect(admitted.slice(-2)).toEqual(['x', 'y'])
})
