/** Alerts on their way from the outbox through a real worker to a real HTTP server and a real SMTP server. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import type { AlertConfiguration } from '../../src/configuration.ts'
import { startWorkerRole } from '../../src/worker/role.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { type MailInbox, startMailInbox, startWebhookInbox, type WebhookInbox } from '../support/inbox.ts'
import { type RecordedLog, recordLog } from '../support/log.ts'
import { until } from '../support/waits.ts'
import { single } from '../support/world.ts'

let database: TestDatabase
let recorded: RecordedLog
let webhook: WebhookInbox
let mail: MailInbox

beforeEach(async () => {
  recorded = recordLog('info')
  database = await cloneDatabase()
  webhook = await startWebhookInbox()
  mail = await startMailInbox()
})

afterEach(async () => {
  await webhook.stop()
  await mail.stop()
  await database.drop()
})

const viaWebhook = (): AlertConfiguration => ({ webhookUrl: webhook.url })
const viaMail = (smtpUrl = mail.url): AlertConfiguration => ({
  email: { to: ['ops@example.com', 'duty@example.com'], from: 'forecourt@example.com', smtpUrl },
})

/** Raises an alert; its id. */
async function raise(): Promise<string> {
  await database.owner.query(
    `select app_private.send_alert('test_alert', 'today', 'Größe passt nicht.', '{"country": "DE"}')`,
  )
  return single(database.owner, 'select id from app_private.alerts')
}

async function withWorker(alerts: AlertConfiguration | undefined, work: () => Promise<void>): Promise<void> {
  const worker = await startWorkerRole({
    databaseUrl: database.ownerUrl,
    log: recorded.log,
    ...(alerts && { alerts }),
  })
  try {
    await work()
  } finally {
    await worker.stop()
  }
}

/** Comes back once no job is left; what failed is tried again at once instead of in a few seconds. */
async function untilDone(): Promise<void> {
  await until(
    'no job is left',
    async () => {
      await database.superuser.query(
        'update graphile_worker._private_jobs set run_at = now() where locked_at is null and run_at > now()',
      )
      const { rows } = await database.superuser.query('select from graphile_worker._private_jobs')
      return rows.length === 0
    },
    40,
  )
}

/** What the database remembers, and what of it has no time. */
async function deliveries(): Promise<unknown[]> {
  const { rows } = await database.owner.query(
    `select channel, attempts, delivered_at is not null as delivered, last_error
     from app_private.alert_deliveries order by channel`,
  )
  return rows
}

test('an alert arrives on the webhook as JSON, with its id as idempotency key', () =>
  withWorker(viaWebhook(), async () => {
    const id = await raise()
    await untilDone()
    expect(webhook.received).toEqual([
      {
        headers: expect.objectContaining({ 'content-type': 'application/json', 'idempotency-key': id }),
        body: {
          id,
          kind: 'test_alert',
          key: 'today',
          message: 'Größe passt nicht.',
          text: 'test_alert: Größe passt nicht.',
          details: { country: 'DE' },
          createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        },
      },
    ])
    expect(await deliveries()).toEqual([
      { channel: 'webhook', attempts: 1, delivered: true, last_error: null },
    ])
  }))

test('an alert arrives by e-mail at every recipient, with an id that is the same at each attempt', () =>
  withWorker(viaMail(), async () => {
    const id = await raise()
    await untilDone()
    const [sent, ...more] = mail.mails
    expect(more).toEqual([])
    expect(sent).toMatchObject({
      from: 'forecourt@example.com',
      to: ['ops@example.com', 'duty@example.com'],
    })
    expect(sent?.text).toContain(`<${id}@example.com>`)
    expect(sent?.text).toMatch(/^Subject: .*test=5Falert/m)
    expect(sent?.text).toContain('"country": "DE"')
    expect(await deliveries()).toEqual([{ channel: 'email', attempts: 1, delivered: true, last_error: null }])
  }))

test('a webhook that answers 500 twice is tried again, and takes the alert once', () =>
  withWorker(viaWebhook(), async () => {
    webhook.answers.push(500, 500)
    const id = await raise()
    await untilDone()
    expect(webhook.received.map(({ headers }) => headers['idempotency-key'])).toEqual([id, id, id])
    expect(await deliveries()).toEqual([
      { channel: 'webhook', attempts: 3, delivered: true, last_error: null },
    ])
    expect(recorded.text()).toMatch(/the webhook responded with 500/)
  }))

test('a webhook that redirects or breaks off has not taken the alert', () =>
  withWorker(viaWebhook(), async () => {
    webhook.answers.push(302, 0)
    await raise()
    await untilDone()
    expect(webhook.received).toHaveLength(3)
    expect(recorded.text()).toMatch(/the webhook responded with 302/)
    expect(recorded.text()).toMatch(/the webhook did not respond/)
  }))

test('while the mail server refuses, the webhook is not sent the alert again', () =>
  withWorker({ ...viaWebhook(), ...viaMail() }, async () => {
    mail.refusals.left = 2
    await raise()
    await untilDone()
    expect(webhook.received).toHaveLength(1)
    expect(mail.mails).toHaveLength(1)
    expect(await deliveries()).toEqual([
      { channel: 'email', attempts: 3, delivered: true, last_error: null },
      { channel: 'webhook', attempts: 1, delivered: true, last_error: null },
    ])
  }))

test('an alert that no channel takes stays, with the reason, and the next one is sent all the same', () =>
  withWorker({ ...viaWebhook(), ...viaMail(mail.url.replace('open-sesame', 'guessed')) }, async () => {
    await raise()
    await until('the mail has failed', async () => (await deliveries()).length === 2)
    expect(await deliveries()).toEqual([
      {
        channel: 'email',
        attempts: 1,
        delivered: false,
        last_error: 'the mail server did not accept the alert (EAUTH 535)',
      },
      { channel: 'webhook', attempts: 1, delivered: true, last_error: null },
    ])
    await database.owner.query("select app_private.send_alert('test_alert', 'tomorrow', 'Another.')")
    await until('the other arrives', () => webhook.received.length === 2)
  }))

test('nothing that is logged or kept holds the secrets of a channel', async () => {
  const unreachable = { webhookUrl: 'http://127.0.0.1:9/hooks/hush-hush' }
  await withWorker({ ...unreachable, ...viaMail(mail.url.replace('open-sesame', 'guessed')) }, async () => {
    await raise()
    await until('both have failed', async () => (await deliveries()).length === 2)
  })
  const { rows } = await database.superuser.query('select last_error from graphile_worker._private_jobs')
  const told = recorded.text() + JSON.stringify([await deliveries(), rows])
  expect(told).toMatch(/the webhook did not respond/)
  expect(told).not.toMatch(/hush-hush|guessed|open-sesame|ops@example/)
})

test('without a channel an alert is a warning in the log, and no job is left', () =>
  withWorker(undefined, async () => {
    await raise()
    await untilDone()
    const warning = recorded.lines.find(({ msg }) => msg.includes('Größe passt nicht'))
    expect(warning).toMatchObject({ level: 40, task: 'send_alert' })
    expect(await deliveries()).toEqual([])
  }))
