/** Runs checks and reports them, one line a check. */

export type Check = {
  name: string
  /** Returns the faults, a line or a block each; an empty list when the check passes. */
  run: () => Promise<string[]>
}

/** Thrown by a check that cannot run on this machine. The message says why, and what to install. */
export class Skipped extends Error {}

/** Runs every check, also after one has failed. Returns whether all passed or were skipped. */
export async function runChecks(checks: Check[]): Promise<boolean> {
  let failures = 0
  for (const { name, run } of checks) {
    const began = performance.now()
    const { verdict, lines } = await judge(run)
    const seconds = ((performance.now() - began) / 1000).toFixed(1)
    process.stdout.write(`${verdict.padEnd(7)} ${name} (${seconds} s)\n`)
    for (const line of lines) process.stdout.write(`${line.trimEnd().replaceAll(/^/gm, '        ')}\n`)
    if (verdict === 'failed') failures++
  }
  process.stdout.write(
    failures === 0 ? '\nNo check failed.\n' : `\n${failures} of ${checks.length} checks failed.\n`,
  )
  return failures === 0
}

async function judge(run: Check['run']): Promise<{ verdict: 'ok' | 'failed' | 'SKIPPED'; lines: string[] }> {
  try {
    const lines = await run()
    return { verdict: lines.length === 0 ? 'ok' : 'failed', lines }
  } catch (error) {
    if (error instanceof Skipped) return { verdict: 'SKIPPED', lines: [error.message] }
    return {
      verdict: 'failed',
      lines: [error instanceof Error ? (error.stack ?? error.message) : String(error)],
    }
  }
}
