/** How far a run is: a bar on a terminal, lines elsewhere. */

export type Progress = {
  /** The next scenario; how much it is shows as it goes. */
  begin(scenario: string): void
  /** That many steps more are to come. */
  expect(steps: number): void
  step(what: string): void
  /** Takes the bar away, for what is to stay. */
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
      // what comes before anybody knows how much it is does not count
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
