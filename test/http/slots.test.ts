/** The slots for requests, on a clock that the test moves. */
import { expect, test } from '@jest/globals'
import { names, openSlots } from '../support/slots.ts'

test('requests are admitted up to the number of slots, and the others queue in the order of arrival', () => {
  const { enter, leave, admitted, inUse, queued } = openSlots()
  expect(enter('a', 'b', 'c', 'd')).toEqual([true, true, true, true])
  expect([admitted, inUse(), queued()]).toEqual([['a', 'b'], 2, 2])
  leave('b')
  expect([admitted, inUse(), queued()]).toEqual([['a', 'b', 'c'], 2, 1])
  for (const name of ['a', 'c', 'd']) leave(name)
  expect([admitted, inUse(), queued()]).toEqual([['a', 'b', 'c', 'd'], 0, 0])
})

test('a request that leaves the queue is not admitted, and the others keep their order', () => {
  const { enter, leave, admitted, inUse, queued } = openSlots()
  enter('a', 'b', 'c', 'd')
  leave('c')
  leave('a')
  expect([admitted, inUse(), queued()]).toEqual([['a', 'b', 'd'], 2, 0])
})

test('a burst may queue ten requests a slot, and no more', () => {
  const { enter, refuseIfFull } = openSlots()
  enter('a', 'b')
  expect(enter(...names(20))).not.toContain(false)
  expect(refuseIfFull()).toBe(true)
  expect(enter('too late')).toEqual([false])
})

test('a queue older than half a second may hold as many requests as there are slots', () => {
  const { enter, leave, refuseIfFull, pass, queued } = openSlots(4)
  enter(...names(4), 'c')
  pass(500)
  expect(enter('d', 'e', 'f')).toEqual([true, true, true])
  leave('b0')
  expect([refuseIfFull(), queued()]).toEqual([false, 3])
  expect(enter('g', 'refused')).toEqual([true, false])
})

/** Four slots in an overload: a full queue older than half a second, and refusals over half a second. */
function overload() {
  const slots = openSlots(4)
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
  const { enter, leave, pass, inUse, queued } = openSlots(2)
  enter('a', 'b')
  expect(enter(...names(21)).filter(entered => !entered)).toEqual([false])
  pass(499)
  expect(enter('c')).toEqual([false])
  leave('a')
  expect([inUse(), queued()]).toEqual([2, 19])
})

test('after a short stall a long queue causes refusals until it is short again, but no overload', () => {
  const { enter, leave, pass, inUse } = openSlots(2)
  enter('a', 'b', ...names(15))
  pass(500)
  expect(enter('c')).toEqual([false])
  pass(400)
  expect(enter('d')).toEqual([false])
  for (const name of ['a', 'b', ...names(14)]) leave(name)
  expect([enter('e'), inUse()]).toEqual([[true], 2])
})

test('after a refusal the next burst is allowed once no request was refused for a second', () => {
  const { enter, leave, pass } = openSlots(1)
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
  const { enter, leave, pass } = openSlots(1)
  enter('a')
  pass(10_000)
  expect(enter('b')).toEqual([true])
  pass(500)
  expect(enter('c')).toEqual([false])
  leave('a')
  expect(enter('d', 'e')).toEqual([true, false])
})
