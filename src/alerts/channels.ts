/** Makes the configured alert channels. */
import type { AlertConfiguration } from '../configuration.ts'
import type { AlertChannel } from './channel.ts'
import { makeWebhookChannel } from './webhook.ts'

export async function makeAlertChannels({ webhookUrl, email }: AlertConfiguration): Promise<AlertChannel[]> {
  const channels: AlertChannel[] = []
  if (webhookUrl !== undefined) channels.push(makeWebhookChannel(webhookUrl))
  if (email !== undefined) {
    // the mail packages are large, so they are loaded only if e-mail is configured
    const { makeEmailChannel } = await import('./email.ts')
    channels.push(makeEmailChannel(email))
  }
  return channels
}
