/** Runs the commands of a guide in a shell, and its SQL as psql does. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import pg from 'pg'
import { projectDirectory } from '../../scripts/support/commands.ts'

export type Ended = { status: number | null; output: string }

/** Runs a script in a clean environment: of ours it keeps only PATH and HOME. It stops at the first error. */
export async function runScript(
  script: string,
  env: Record<string, string> = {},
  directory = projectDirectory,
): Promise<Ended> {
  const { PATH = '', HOME = '' } = process.env
  const child = spawn('sh', ['-ec', script], { cwd: directory, env: { PATH, HOME, ...env } })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', text => {
      output += text
    })
  const [status] = await once(child, 'close')
  return { status, output }
}

/**
 * Runs each statement of a block on one connection. `\connect` goes to another database of the server, and `\password` sets
 * the given password, for which psql would ask.
 */
export async function runSql(url: string, text: string, password = ''): Promise<void> {
  let client = await connect(url)
  try {
    for (const statement of text.split(/;[^\n]*\n|(?<=^\\.*)\n/m)) {
      const [, command, name = ''] = /^\\(connect|password) (\w+)/.exec(statement.trim()) ?? []
      if (command === 'connect') {
        await client.end()
        client = await connect(url.replace(/\/\w+$/, `/${name}`))
      } else if (command === 'password') {
        await client.query(`alter role ${name} password ${pg.escapeLiteral(password)}`)
      } else if (statement.trim() !== '') {
        await client.query(statement)
      }
    }
  } finally {
    await client.end()
  }
}

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  return client
}
