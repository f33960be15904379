/** Servers that receive alerts in tests: a real HTTP server and a real SMTP server. A test can make them refuse. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { SMTPServer } from 'smtp-server'

type Received = { headers: Record<string, unknown>; body: Record<string, unknown> }

export type WebhookReceiver = {
  url: string
  /** Every request, including refused ones. */
  received: Received[]
  /** The statuses of the next responses; 200 when the list is empty. Status 0 closes the connection without a response. */
  nextStatuses: number[]
  stop(): Promise<void>
}

export async function startWebhookReceiver(): Promise<WebhookReceiver> {
  const received: Received[] = []
  const nextStatuses: number[] = []
  const server = createServer(async (request, response) => {
    received.push({ headers: request.headers, body: JSON.parse(await text(request)) })
    const status = nextStatuses.shift() ?? 200
    if (status === 0) request.destroy()
    else response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end('ignored')
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    // the path plays the part of the secret in a real webhook URL
    url: `http://127.0.0.1:${port}/hooks/hush-hush`,
    received,
    nextStatuses,
    async stop() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

export type Mail = { from: string; to: string[]; text: string }

export type MailServer = {
  url: string
  mails: Mail[]
  /** How many of the next mails the server refuses with a temporary error. */
  refusals: { left: number }
  stop(): Promise<void>
}

export async function startMailServer(atPort = 0): Promise<MailServer> {
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
  await new Promise<void>(resolve => server.listen(atPort, '127.0.0.1', resolve))
  const { port } = server.server.address() as AddressInfo
  return {
    url: `smtp://forecourt:open-sesame@127.0.0.1:${port}`,
    mails,
    refusals,
    stop: () => new Promise(resolve => server.close(() => resolve())),
  }
}
