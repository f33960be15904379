/** The log redacts secrets and personal details by their keys. */
import { expect, test } from '@jest/globals'
import { withoutRedaction } from '../src/log.ts'
import { recordLog } from './support/recordedLog.ts'

const KEYS = ['authorization', 'password', 'token', 'accessToken', 'email', 'cookie', 'connectionString']
const SECRET = 'a-value-that-nobody-may-read'

test.each(KEYS)('a value under the key %s is redacted at each of three levels', key => {
  const recorded = recordLog()
  // the request log shares the destination, and must not switch the redaction of other records off
  withoutRedaction(recorded.log)
  const secret = { [key]: SECRET }
  const error = Object.assign(new Error('it failed'), secret)
  recorded.log.warn({ ...secret, a: secret, b: { c: secret }, err: error, d: { err: error } }, 'a record')
  const redacted = { [key]: '[redacted]' }
  expect(recorded.lines).toMatchObject([{ ...redacted, a: redacted, b: { c: redacted }, err: redacted }])
  expect(recorded.text()).not.toContain(SECRET)
})

test('the request log has the level of the log', () => {
  const recorded = recordLog('warn')
  const requestLog = withoutRedaction(recorded.log)
  requestLog.info({}, 'not logged')
  requestLog.warn({}, 'logged')
  expect(recorded.lines).toMatchObject([{ level: 40, msg: 'logged' }])
})
