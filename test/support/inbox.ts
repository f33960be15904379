/** Where alerts arrive in tests: an HTTP server and an SMTP server, both real, that refuse when told to. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { SMTPServer } from 'smtp-server'

type Received = { headers: Record<string, unknown>; body: Record<string, unknown> }

export type WebhookInbox = {
  url: string
  /** Every request, refused ones too. */
  received: Received[]
  /** The statuses of the next answers; 200 once they are used up. Status 0: no answer at all. */
  answers: number[]
  stop(): Promise<void>
}

export async function startWebhookInbox(): Promise<WebhookInbox> {
  const received: Received[] = []
  const answers: number[] = []
  const server = createServer(async (request, response) => {
    received.push({ headers: request.headers, body: JSON.parse(await text(request)) })
    const status = answers.shift() ?? 200
    if (status === 0) request.destroy()
    else response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end('no matter')
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    // the path stands for the secret that such URLs hold
    url: `http://127.0.0.1:${port}/hooks/hush-hush`,
    received,
    answers,
    async stop() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

export type Mail = { from: string; to: string[]; text: string }

export type MailInbox = {
  url: string
  mails: Mail[]
  /** How many of the next mails are refused for now. */
  refusals: { left: number }
  stop(): Promise<void>
}

export async function startMailInbox(): Promise<MailInbox> {
  const mails: Mail[] = []
  const refusals = { left: 0 }
  const server = new SMTPServer({
    allowInsecureAuth: true,
    disabledCommands: ['STARTTLS'],
    onAuth: ({ username, password }, _session, callback) =>
      password === 'open-sesame' ? callback(null, { user: username }) : callback(new Error('no such user')),
    onData(stream, { envelope }, callback) {
      text(stream).then(content => {
        if (refusals.left > 0) {
          refusals.left -= 1
          callback(Object.assign(new Error('try later'), { responseCode: 451 }))
          return
        }
        const from = envelope.mailFrom === false ? '' : envelope.mailFrom.address
        mails.push({ from, to: envelope.rcptTo.map(({ address }) => address), text: content })
        callback()
      }, callback)
    },
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.server.address() as AddressInfo
  return {
    url: `smtp://forecourt:open-sesame@127.0.0.1:${port}`,
    mails,
    refusals,
    stop: () => new Promise(resolve => server.close(() => resolve())),
  }
}
