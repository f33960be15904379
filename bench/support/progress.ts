/** The progress of a run: a bar on a terminal, lines elsewhere. */

export type Progress = {
  /** Starts the next scenario. `expect` announces its steps. */
  begin(scenario: string): void
  /** Adds steps to the total. */
  expect(steps: number): void
  step(what: string): void
  /** Removes the bar before other output. */
  clear(): void
}

const WIDTH = 24

export function makeProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  let scenario = ''
  let expected = 0
  let done = 0
  const began = performance.now()
  const clear = () => {
    if (stream.isTTY) stream.write('\r\x1b[2K')
  }
  return {
    clear,
    begin(name) {
      scenario = name
      expected = 0
      done = 0
    },
    expect(steps) {
      expected += steps
    },
    step(what) {
      // a step before the first `expect` does not count
      if (expected > 0) done++
      const seconds = Math.round((performance.now() - began) / 1000)
      const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
      const count = expected > 0 ? ` ${done}/${expected}` : ''
      const text = `${time} ${scenario}${count} ${what}`
      if (!stream.isTTY) {
        stream.write(`${text}\n`)
        return
      }
      const filled = expected > 0 ? Math.round((Math.min(done, expected) / expected) * WIDTH) : 0
      const bar = `[${'#'.repeat(filled)}${'.'.repeat(WIDTH - filled)}]`
      clear()
      stream.write(`${bar} ${text}`.slice(0, stream.columns - 1))
    },
  }
}
