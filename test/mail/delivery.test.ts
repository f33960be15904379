/** Delivery of the outbox of mails through a real worker to a real SMTP server. */

import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { newToken, sealToken } from '../../src/identity/secretTokens.ts'
import { startWorkerRole } from '../../src/worker/role.ts'
import { type MailServer, startMailServer } from '../support/alertReceivers.ts'
import { jwtSecret } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { mailKey } from '../support/mails.ts'
import { type RecordedLog, recordLog } from '../support/recordedLog.ts'
import { single } from '../support/testData.ts'
import { until } from '../support/waits.ts'

const FROM = 'forecourt@example.com'
const TO = 'reader@example.org'

let database: TestDatabase
let recorded: RecordedLog
let mail: MailServer

beforeEach(async () => {
  recorded = recordLog('debug')
  database = await cloneDatabase()
  mail = await startMailServer()
})

afterEach(async () => {
  await mail.stop()
  await database.drop()
})

type Options = { smtpUrl?: string; mailDirectory?: string; secret?: string }

async function withWorker(options: Options, work: () => Promise<void>): Promise<void> {
  const { smtpUrl, mailDirectory, secret = jwtSecret } = options
  const worker = await startWorkerRole({
    databaseUrl: database.ownerUrl,
    log: recorded.log,
    jwtSecret: secret,
    ...(smtpUrl && { mail: { smtpUrl, from: FROM } }),
    ...(mailDirectory && { mailDirectory }),
  })
  try {
    await work()
  } finally {
    await worker.stop()
  }
}

/** Queues a mail with a token, and returns the token. */
async function queueReset(locale = 'en', expires = "interval '1 hour'", to = TO): Promise<string> {
  const token = newToken()
  await database.owner.query(
    `select app_private.queue_mail('password_reset', $1, $2, '{}', $3, now() + ${expires})`,
    [to, locale, sealToken(token, mailKey)],
  )
  return token
}

const jobs = async () =>
  (await database.superuser.query('select attempts, last_error from graphile_worker._private_jobs')).rows

/** Waits until no job is left. Failed jobs become due at once. */
async function untilDone(): Promise<void> {
  await until(
    'no job is left',
    async () => {
      await database.superuser.query(
        'update graphile_worker._private_jobs set run_at = now() where locked_at is null and run_at > now()',
      )
      return (await jobs()).length === 0
    },
    40,
  )
}

const outbox = async () =>
  (
    await database.owner.query(
      'select sent_at is not null as sent, sealed_token is not null as sealed from app_private.mails order by id',
    )
  ).rows

/** The text of a mail as its reader sees it. */
function textOf(raw: string): string {
  const [, body = ''] = raw.split(/\r\n\r\n(.*)/s)
  if (!/Content-Transfer-Encoding: quoted-printable/i.test(raw)) return body
  const bytes = body
    .replace(/=\r\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(bytes, 'latin1').toString()
}

test.each([
  ['en', /^Subject: Set a new password/m, 'works once'],
  ['de', /^Subject: Neues Passwort festlegen/m, 'können Sie ein neues Passwort'],
])(
  'a mail goes out once in the language of its reader, and its token is forgotten: %s',
  (locale, subject, sentence) =>
    withWorker({ smtpUrl: mail.url }, async () => {
      const token = await queueReset(locale)
      await untilDone()
      const id = await single(database.owner, 'select id from app_private.mails')
      expect(mail.mails).toEqual([
        { from: FROM, to: [TO], text: expect.stringContaining(`<${id}@example.com>`) },
      ])
      const raw = mail.mails[0]?.text ?? ''
      expect(raw).toMatch(subject)
      expect(raw).toMatch(/^Content-Type: text\/plain; charset=utf-8/m)
      const text = textOf(raw)
      expect(text).toContain(token)
      expect(text).toContain(sentence)
      expect(text).toMatch(/20\d\d.*UTC/)
      expect(text).not.toMatch(/[{}]/)
      expect(await outbox()).toEqual([{ sent: true, sealed: false }])
      await database.owner.query(
        "select graphile_worker.add_job('send_mail', json_build_object('id', $1::uuid))",
        [id],
      )
      await untilDone()
      expect(mail.mails).toHaveLength(1)
      expect(recorded.text()).not.toMatch(new RegExp(`${token}|${TO}`))
    }),
)

test('a mail server that is down loses and doubles nothing', async () => {
  await mail.stop()
  const tokens: string[] = []
  await withWorker({ smtpUrl: mail.url }, async () => {
    for (let number = 0; number < 5; number += 1)
      tokens.push(await queueReset('en', "interval '1 hour'", `${number}@example.org`))
    await until('each mail has failed', async () => (await jobs()).every(({ attempts }) => attempts > 0))
    expect(await outbox()).toEqual(Array(5).fill({ sent: false, sealed: true }))
    const visible = recorded.text() + JSON.stringify(await jobs())
    expect(visible).toMatch(/mail password_reset was not sent: E[A-Z]+/)
    expect(visible).not.toMatch(new RegExp(`${tokens.join('|')}|example\\.org|open-sesame`))
  })
  mail = await startMailServer(Number(new URL(mail.url).port))
  mail.refusals.left = 3
  await withWorker({ smtpUrl: mail.url }, untilDone)
  const sent = mail.mails.map(({ to, text }) => [
    to[0],
    tokens.findIndex(token => textOf(text).includes(token)),
  ])
  expect(sent.sort()).toEqual(tokens.map((_token, number) => [`${number}@example.org`, number]))
  expect(await outbox()).toEqual(Array(5).fill({ sent: true, sealed: false }))
})

test('a mail that was accepted but not recorded as sent goes out again with the same Message-ID', () =>
  withWorker({ smtpUrl: mail.url }, async () => {
    await database.superuser.query(`
      create function app_private.fail() returns trigger language plpgsql as $$
      begin raise exception 'lost'; end $$;
      create trigger mails_fail before update on app_private.mails for each row execute function app_private.fail()`)
    await queueReset()
    await until('the record has failed', async () => (await jobs())[0]?.last_error === 'lost')
    await database.superuser.query('drop trigger mails_fail on app_private.mails')
    await untilDone()
    const ids = mail.mails.map(({ text }) => /^Message-ID: (.*)$/m.exec(text)?.[1])
    expect(ids).toHaveLength(2)
    expect(new Set(ids).size).toBe(1)
  }))

test('a mail whose token has expired is dropped with its address', async () => {
  await queueReset('en', "interval '-1 second'")
  await withWorker({ smtpUrl: mail.url }, untilDone)
  expect([mail.mails, await outbox()]).toEqual([[], []])
  expect(recorded.text()).not.toContain(TO)
})

test('without a mail server mails wait, the log warns, and they go out when one is set', async () => {
  const token = await queueReset()
  await withWorker({}, () => until('it has failed', async () => (await jobs())[0]?.attempts > 0))
  expect(recorded.lines.some(({ level, msg }) => level === 40 && /SMTP_URL and MAIL_FROM/.test(msg))).toBe(
    true,
  )
  await withWorker({ smtpUrl: mail.url }, untilDone)
  expect(textOf(mail.mails[0]?.text ?? '')).toContain(token)
})

test('a mail that has failed often, or was given up, becomes due within five minutes; others keep their pause', async () => {
  for (let number = 0; number < 3; number += 1) await queueReset()
  const set = (id: string, attempts: number) =>
    database.superuser.query(
      "update graphile_worker._private_jobs set attempts = $2, run_at = now() + interval '6 hours' where payload ->> 'id' = $1",
      [id, attempts],
    )
  const { rows } = await database.owner.query<{ id: string }>('select id from app_private.mails order by id')
  for (const [index, attempts] of [5, 6, 25].entries()) await set(rows[index]?.id ?? '', attempts)
  await database.owner.query('select app_private.maintain_mails()')
  const { rows: due } = await database.superuser.query(
    "select attempts, run_at <= now() as due from graphile_worker._private_jobs order by (payload ->> 'id')",
  )
  expect(due).toEqual([
    { attempts: 5, due: false },
    { attempts: 5, due: true },
    { attempts: 5, due: true },
  ])
})

test('mails are removed after 14 days, sent or not, and expired tokens at once', async () => {
  const age = 'update app_private.mails set created_at = now() - $1::interval where recipient = $2'
  for (const [to, days] of [
    ['old@example.org', '14 days 1 hour'],
    ['new@example.org', '13 days 23 hours'],
  ] as const) {
    await queueReset('en', "interval '1 hour'", to)
    await database.owner.query(age, [days, to])
  }
  await database.owner.query(
    `insert into app_private.one_time_tokens (token_hash, kind, holder, email, expires_at) values
       (sha256('a'), 'password_reset', gen_random_uuid(), 'a@example.org', now() - interval '1 second'),
       (sha256('b'), 'email_verification', gen_random_uuid(), 'b@example.org', now() + interval '1 hour')`,
  )
  expect(await single(database.owner, 'select app_private.maintain_mails()')).toBe(1)
  const { rows } = await database.owner.query(
    'select recipient as address from app_private.mails union all select email from app_private.one_time_tokens order by 1',
  )
  expect(rows).toEqual([{ address: 'b@example.org' }, { address: 'new@example.org' }])
})

test('a token that was sealed with another secret is not sent, and the log says why', async () => {
  await queueReset()
  await withWorker({ smtpUrl: mail.url, secret: 'x'.repeat(32) }, () =>
    until('it has failed', async () => /JWT_SECRET/.test((await jobs())[0]?.last_error ?? '')),
  )
  expect(mail.mails).toEqual([])
})

test('on the machine of a developer each mail becomes a file that only its owner reads', async () => {
  const home = await mkdtemp(join(tmpdir(), 'forecourt-mail-'))
  const mailDirectory = join(home, 'mail')
  try {
    const token = await queueReset('de')
    await withWorker({ mailDirectory }, untilDone)
    const files = await readdir(mailDirectory)
    expect(files).toEqual([
      expect.stringMatching(/^20\d\d-\d\d-\d\dT[\d.-]+Z-password_reset-[0-9a-f]{12}\.txt$/),
    ])
    const text = await readFile(join(mailDirectory, files[0] ?? ''), 'utf8')
    expect(text).toMatch(/^From: forecourt@localhost\nTo: reader@example.org\nSubject: Neues Passwort/)
    expect(text).toContain(token)
    expect((await stat(join(mailDirectory, files[0] ?? ''))).mode & 0o077).toBe(0)
    expect(recorded.lines.some(({ msg }) => msg.includes(mailDirectory))).toBe(true)
  } finally {
    await rm(home, { recursive: true })
  }
})
