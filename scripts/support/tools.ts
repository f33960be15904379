/** Programs that a check runs. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** Returns the program's output if it fails, nothing if it succeeds. The program gets `input` on its standard input. */
export async function runTool(program: string, args: string[], input = ''): Promise<string[]> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const output: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => output.push(chunk))
  child.stdin.on('error', () => {}) // the program may end before it reads its input; its own output says why
  child.stdin.end(input)
  const [status] = await once(child, 'close')
  return status === 0 ? [] : [Buffer.concat(output).toString() || `${program} ended with ${status}`]
}
