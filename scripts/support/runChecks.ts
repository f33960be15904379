/** What a check is, and how one is run and reported. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'

export type Check = {
  name: string
  /** What is wrong, a line or a block each; nothing where all is well. */
  run: () => Promise<string[]>
}

/** Thrown by a check that cannot run here; the message says why and how it would. */
export class Skipped extends Error {}

/** Runs every check, also past one that fails, with a line each. Returns whether none failed. */
export async function report(checks: Check[]): Promise<boolean> {
  let failures = 0
  for (const { name, run } of checks) {
    const began = performance.now()
    const { verdict, lines } = await judge(run)
    const seconds = ((performance.now() - began) / 1000).toFixed(1)
    process.stdout.write(`${verdict.padEnd(7)} ${name} (${seconds} s)\n`)
    for (const line of lines) process.stdout.write(`${line.trimEnd().replaceAll(/^/gm, '        ')}\n`)
    if (verdict === 'failed') failures++
  }
  process.stdout.write(failures === 0 ? '\nAll is well.\n' : `\n${failures} of ${checks.length} failed.\n`)
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

/** What a program has to say if it fails; it gets `input` on its standard input. */
export async function runTool(program: string, args: string[], input = ''): Promise<string[]> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const output: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => output.push(chunk))
  child.stdin.on('error', () => {}) // one that ends without reading it says why itself
  child.stdin.end(input)
  const [status] = await once(child, 'close')
  return status === 0 ? [] : [Buffer.concat(output).toString() || `${program} ended with ${status}`]
}
