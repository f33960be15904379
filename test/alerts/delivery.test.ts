/** Delivery of alerts from the outbox through a real worker to a real HTTP server and a real SMTP server. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import type { AlertConfiguration } from '../../src/configuration.ts'
import { startWorkerRole } from '../../src/worker/role.ts'
import {
  type MailServer,
  startMailServer,
  startWebhookReceiver,
  type WebhookReceiver,
} from '../support/alertReceivers.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { type RecordedLog, recordLog } from '../support/recordedLog.ts'
import { single } from '../support/testData.ts'
import { until } from '../support/waits.ts'

let database: TestDatabase
let recorded: RecordedLog
let webhook: WebhookReceiver
let mail: MailServer

beforeEach(async () => {
  recorded = recordLog('info')
  database = await cloneDatabase()
  webhook = await startWebhookReceiver()
  mail = await startMailServer()
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

/** Raises an alert and returns its id. */
async function raiseAlert(): Promise<string> {
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

/** Waits until no job is left. It makes failed jobs due immediately, so that the worker retries them without delay. */
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

/** Reads the recorded deliveries, without their times. */
async function readDeliveries(): Promise<unknown[]> {
  const { rows } = await database.owner.query(
    `select channel, attempts, delivered_at is not null as delivered, last_error
     from app_private.alert_deliveries order by channel`,
  )
  return rows
}

test('the webhook receives an alert as JSON with its id as idempotency key', () =>
  withWorker(viaWebhook(), async () => {
    const id = await raiseAlert()
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
    expect(await readDeliveries()).toEqual([
      { channel: 'webhook', attempts: 1, delivered: true, last_error: null },
    ])
  }))

test('every recipient gets an alert by e-mail, with a message id made from the id of the alert', () =>
  withWorker(viaMail(), async () => {
    const id = await raiseAlert()
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
    expect(await readDeliveries()).toEqual([
      { channel: 'email', attempts: 1, delivered: true, last_error: null },
    ])
  }))

test('a delivery is retried with the same id after the webhook responds with 500', () =>
  withWorker(viaWebhook(), async () => {
    webhook.nextStatuses.push(500, 500)
    const id = await raiseAlert()
    await untilDone()
    expect(webhook.received.map(({ headers }) => headers['idempotency-key'])).toEqual([id, id, id])
    expect(await readDeliveries()).toEqual([
      { channel: 'webhook', attempts: 3, delivered: true, last_error: null },
    ])
    expect(recorded.text()).toMatch(/the webhook responded with 500/)
  }))

test('a redirect or a broken connection counts as a failed delivery', () =>
  withWorker(viaWebhook(), async () => {
    webhook.nextStatuses.push(302, 0)
    await raiseAlert()
    await untilDone()
    expect(webhook.received).toHaveLength(3)
    expect(recorded.text()).toMatch(/the webhook responded with 302/)
    expect(recorded.text()).toMatch(/the webhook did not respond/)
  }))

test('retries for a refusing mail server do not send the alert to the webhook again', () =>
  withWorker({ ...viaWebhook(), ...viaMail() }, async () => {
    mail.refusals.left = 2
    await raiseAlert()
    await untilDone()
    expect(webhook.received).toHaveLength(1)
    expect(mail.mails).toHaveLength(1)
    expect(await readDeliveries()).toEqual([
      { channel: 'email', attempts: 3, delivered: true, last_error: null },
      { channel: 'webhook', attempts: 1, delivered: true, last_error: null },
    ])
  }))

test('a failed delivery is kept with its error, and does not stop the next alert', () =>
  withWorker({ ...viaWebhook(), ...viaMail(mail.url.replace('open-sesame', 'guessed')) }, async () => {
    await raiseAlert()
    await until('the mail has failed', async () => (await readDeliveries()).length === 2)
    expect(await readDeliveries()).toEqual([
      {
        channel: 'email',
        attempts: 1,
        delivered: false,
        last_error: 'the mail server did not accept the alert (EAUTH 535)',
      },
      { channel: 'webhook', attempts: 1, delivered: true, last_error: null },
    ])
    await database.owner.query("select app_private.send_alert('test_alert', 'tomorrow', 'Another.')")
    await until('the webhook has received the next alert', () => webhook.received.length === 2)
  }))

test('the log and the stored errors contain no secret of a channel', async () => {
  const unreachable = { webhookUrl: 'http://127.0.0.1:9/hooks/hush-hush' }
  await withWorker({ ...unreachable, ...viaMail(mail.url.replace('open-sesame', 'guessed')) }, async () => {
    await raiseAlert()
    await until('both deliveries have failed', async () => (await readDeliveries()).length === 2)
  })
  const { rows } = await database.superuser.query('select last_error from graphile_worker._private_jobs')
  const visible = recorded.text() + JSON.stringify([await readDeliveries(), rows])
  expect(visible).toMatch(/the webhook did not respond/)
  expect(visible).not.toMatch(/hush-hush|guessed|open-sesame|ops@example/)
})

test('without a channel an alert becomes a warning in the log, and no job remains', () =>
  withWorker(undefined, async () => {
    await raiseAlert()
    await untilDone()
    const warning = recorded.lines.find(({ msg }) => msg.includes('Größe passt nicht'))
    expect(warning).toMatchObject({ level: 40, task: 'send_alert' })
    expect(await readDeliveries()).toEqual([])
  }))
