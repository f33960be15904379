/** The throw-away servers of the scripts leave nothing behind, however the process ends. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import { projectDirectory } from '../../scripts/support/commands.ts'

const SCRIPT = `
  import { endServersWithProcess, newDirectory } from ${JSON.stringify(join(projectDirectory, 'scripts/support/databases.ts'))}
  endServersWithProcess()
  console.log(newDirectory())
  setInterval(() => {}, 1000)`

test('a second signal does not end the clean-up, because Ctrl-C sends two through npm', async () => {
  const home = mkdtempSync(join(tmpdir(), 'forecourt-test-'))
  const script = join(home, 'script.ts')
  writeFileSync(script, SCRIPT)
  const server = spawn('sleep', ['60'])
  const child = spawn(process.execPath, [script], { env: { ...process.env, TMPDIR: home } })
  try {
    const ended = once(child, 'close')
    const directory = String((await once(child.stdout, 'data'))[0]).trim()
    const pidFile = join(directory, 'postgres', 'postmaster.pid')
    mkdirSync(join(directory, 'postgres'))
    writeFileSync(pidFile, `${server.pid}\n`)
    // the clean-up stops the server and then waits until the server has removed this file
    child.kill('SIGINT')
    await once(server, 'exit')
    child.kill('SIGINT')
    await sleep(100)
    rmSync(pidFile)
    expect(await ended).toEqual([130, null])
    expect(existsSync(directory)).toBe(false)
  } finally {
    server.kill()
    child.kill('SIGKILL')
    rmSync(home, { recursive: true })
  }
})
