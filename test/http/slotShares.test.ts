/** The shares of a sender or a dealer of the slots and of the connections. */
import { expect, test } from '@jest/globals'
import { names, openSlots } from '../support/slots.ts'

test.each([
  [1, 1],
  [2, 1],
  [3, 2],
  [4, 2],
  [10, 6],
  [16, 10],
])('of %i slots, one key takes %i, and requests of other keys take the rest', (slots, share) => {
  const { enter, enterAs, inUse, queued } = openSlots(slots)
  enterAs(['a'], ...names(slots, 'a'))
  expect([inUse(), queued()]).toEqual([share, slots - share])
  enter(...names(slots - share))
  expect([inUse(), queued()]).toEqual([slots, slots - share])
})

test('several keys that take all they can leave slots for others: of 10 slots, two keys take 4 each', () => {
  const { enterAs, enter, inUse, admitted } = openSlots(10)
  enterAs(['a'], ...names(3, 'a'))
  enterAs(['b'], ...names(20, 'b'))
  enterAs(['a'], ...names(20, 'aa'))
  expect(inUse()).toBe(8)
  enter('c', 'd')
  expect(admitted.slice(-2)).toEqual(['c', 'd'])
})

test('a request with several keys needs room in the share of each', () => {
  const { enterAs, admitted } = openSlots(4)
  enterAs(['dealer', 'user 1'], 'a')
  enterAs(['dealer', 'user 2'], 'b')
  enterAs(['dealer', 'user 3'], 'c')
  enterAs(['other dealer', 'user 1'], 'd')
  expect(admitted).toEqual(['a', 'b', 'd'])
})

test('with fewer connections than slots, a key has a share of the connections', () => {
  const { enterAs, enter, inUse } = openSlots(16, 10)
  enterAs(['a'], ...names(16, 'a'))
  expect(inUse()).toBe(6)
  enter(...names(10))
  expect(inUse()).toBe(16)
})

test('a request that waits for the disk keeps its slot, and its key gets another connection', () => {
  const { enterAs, enter, leave, freeConnection, inUse, admitted } = openSlots(10, 4)
  enterAs(['a'], 'a1', 'a2', 'a3', 'a4')
  expect(admitted).toEqual(['a1', 'a2'])
  freeConnection('a1')
  expect(admitted).toEqual(['a1', 'a2', 'a3'])
  expect(inUse()).toBe(3)
  leave('a1')
  expect(admitted).toEqual(['a1', 'a2', 'a3'])
  leave('a2')
  expect(admitted).toEqual(['a1', 'a2', 'a3', 'a4'])
  enter('b')
  expect(admitted.at(-1)).toBe('b')
})

test('a request that begins another transaction counts for the connections again, once', () => {
  const { enterAs, enter, freeConnection, useConnection, admitted } = openSlots(10, 4)
  enterAs(['a'], 'a1', 'a2')
  freeConnection('a1')
  useConnection('a1')
  useConnection('a1')
  enterAs(['a'], 'a3')
  enter('b')
  expect(admitted).toEqual(['a1', 'a2', 'b'])
  freeConnection('a1')
  expect(admitted).toEqual(['a1', 'a2', 'b', 'a3'])
})

test('requests that wait for the disk take no more slots than their share', () => {
  const { enterAs, enter, freeConnection, inUse, admitted } = openSlots(10, 4)
  for (const name of names(8, 'a')) {
    enterAs(['a'], name)
    if (admitted.includes(name)) freeConnection(name)
  }
  expect(inUse()).toBe(6)
  enter('b')
  expect(admitted.at(-1)).toBe('b')
})

test('requests over their share are overtaken, and admitted in their order when their key gives a slot back', () => {
  const { enterAs, enter, leave, admitted } = openSlots(4)
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
  const { enterAs, enter, leave, admitted } = openSlots(2)
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
  const { enterAs, refuseIfFull, pass, queued, inUse, enter } = openSlots(10)
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
  const slots = openSlots(4)
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

test('while all connections are in use, a queue older than half a second takes one request for each slot, even if slots are free', () => {
  const { enterAs, pass, inUse, queued, refused } = openSlots(10, 3)
  enterAs(['a'], ...names(10, 'a'))
  enterAs(['b'], 'b')
  enterAs(['c'], 'c')
  expect([inUse(), queued()]).toEqual([4, 8])
  pass(600)
  enterAs(['d'], ...names(20, 'd'))
  expect(queued()).toBe(10)
  expect(refused.length).toBeGreaterThan(0)
})
