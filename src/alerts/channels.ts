/** Where alerts go: the channels that are configured. */
import type { AlertConfiguration } from '../configuration.ts'
import type { AlertChannel } from './channel.ts'
import { makeEmailChannel } from './email.ts'
import { makeWebhookChannel } from './webhook.ts'

export function makeAlertChannels({ webhookUrl, email }: AlertConfiguration): AlertChannel[] {
  return [
    ...(webhookUrl === undefined ? [] : [makeWebhookChannel(webhookUrl)]),
    ...(email === undefined ? [] : [makeEmailChannel(email)]),
  ]
}
