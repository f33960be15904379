/** The places for requests: counted by a clock that the test sets. */
import { expect, test } from '@jest/globals'
import { makePlaces } from '../../src/http/admission.ts'

/** Two places, and requests that note that they were admitted. */
function open(places = 2) {
  let time = 0
  const admitted: string[] = []
  const { enter, leave, ...rest } = makePlaces(places, () => time)
  const callbacks = new Map<string, () => void>()
  const callback = (name: string) => {
    const known = callbacks.get(name) ?? (() => void admitted.push(name))
    callbacks.set(name, known)
    return known
  }
  return {
    ...rest,
    admitted,
    enter: (...names: string[]) => names.map(name => enter(callback(name))),
    leave: (name: string) => leave(callback(name)),
    pass(milliseconds: number) {
      time += milliseconds
    },
  }
}

const names = (count: number, prefix = 'b') =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`)

test('as many are admitted as there are places, and the next ones wait in their order', () => {
  const { enter, leave, admitted, taken, waiting } = open()
  expect(enter('a', 'b', 'c', 'd')).toEqual([true, true, true, true])
  expect([admitted, taken(), waiting()]).toEqual([['a', 'b'], 2, 2])
  leave('b')
  expect([admitted, taken(), waiting()]).toEqual([['a', 'b', 'c'], 2, 1])
  for (const name of ['a', 'c', 'd']) leave(name)
  expect([admitted, taken(), waiting()]).toEqual([['a', 'b', 'c', 'd'], 0, 0])
})

test('who gives up while waiting is not admitted, and holds up nobody', () => {
  const { enter, leave, admitted, taken, waiting } = open()
  enter('a', 'b', 'c', 'd')
  leave('c')
  leave('a')
  expect([admitted, taken(), waiting()]).toEqual([['a', 'b', 'd'], 2, 0])
})

test('a burst may wait, five to a place, and no more', () => {
  const { enter, isFull } = open()
  enter('a', 'b')
  expect(enter(...names(10))).not.toContain(false)
  expect(isFull()).toBe(true)
  expect(enter('too late')).toEqual([false])
})

test('a queue that stands is no burst: only one waits, however many places there are', () => {
  const { enter, leave, isFull, pass, waiting } = open(8)
  enter('a', ...names(7), 'c')
  expect(isFull()).toBe(false)
  pass(500)
  expect(isFull()).toBe(true)
  expect(enter('d')).toEqual([false])
  leave('a')
  expect([isFull(), waiting()]).toEqual([false, 0])
  expect(enter('e')).toEqual([true])
})

test('after a refusal the next burst may come once nobody was refused for a second', () => {
  const { enter, leave, isFull, pass } = open()
  enter('a', 'b', 'c')
  pass(500)
  expect(enter('refused')).toEqual([false])
  leave('a')
  pass(999)
  enter('d')
  expect(isFull()).toBe(true)
  leave('b')
  pass(1_000)
  expect(enter('e', 'f')).toEqual([true, true])
})

test('a process with one place lets one wait', () => {
  const { enter, pass } = open(1)
  enter('a')
  pass(10_000)
  expect(enter('b')).toEqual([true])
  pass(500)
  expect(enter('c')).toEqual([false])
})
