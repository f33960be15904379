/** Expires ended subscriptions, and starts those that waited for them. */
import { makeExpiry } from './support/expiry.ts'

export default makeExpiry('expire_subscriptions', 'subscriptions')
