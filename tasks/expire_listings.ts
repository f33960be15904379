/** Records the end of listings, which are no longer shown. */
import { makeExpiry } from './support/expiry.ts'

export default makeExpiry('expire_listings', 'listings')
