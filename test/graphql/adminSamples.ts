/** The samples of the mutations with which admins configure Forecourt. Each call changes something. */
import { makeSeller, newCountry } from '../support/seller.ts'
import { makeCountry, makePackage, makeUser } from '../support/testData.ts'
import type { Sample, SampleWorld } from './samples.ts'

type Input = NonNullable<Sample['input']>

let number = 1
const newNumber = () => number++

const inputs: Record<string, (world: SampleWorld) => Input | Promise<Input>> = {
  openCountry: () => ({ country: newCountry(), currency: 'EUR', vatRate: '20', unitPriceNet: '5.00' }),
  closeCountry: async ({ database }) => ({
    country: await makeCountry(database.owner, { country: newCountry() }),
  }),
  setPrice: ({ seller: { country } }) => ({
    country,
    segment: 'INDIVIDUAL',
    pricingType: 'PAY_PER_LISTING',
    unitPriceNet: String(newNumber()),
  }),
  setVatRate: async ({ database }) => ({
    country: await makeCountry(database.owner, { country: newCountry() }),
    vatRate: '20',
  }),
  setFreeQuota: ({ seller: { country } }) => ({
    country,
    segment: 'INDIVIDUAL',
    quotaAmount: newNumber(),
    periodDays: 30,
  }),
  savePackage: ({ seller: { country } }) => ({
    key: `p${newNumber()}`,
    country,
    name: { en: 'Test', de: 'Test' },
    priceNet: '49.00',
    durationDays: 30,
    listingLimit: 10,
  }),
  retirePackage: async ({ database, seller: { country } }) => ({
    packageId: await makePackage(database.owner, { country }),
  }),
  setRateLimitPolicy: () => ({ scope: 'listing_batch', windowSeconds: newNumber() }),
  setDealerStatus: async ({ database, server }) => {
    const { dealerId } = await makeSeller(database, server)
    return { dealerId, isActive: false, canPublish: false, reason: 'A test' }
  },
  lockUser: async ({ database }) => ({ userId: await makeUser(database.owner), reason: 'A test' }),
  unlockUser: async ({ database }) => {
    const userId = await makeUser(database.owner)
    await database.owner.query('update app_public.users set locked_at = now() where id = $1', [userId])
    return { userId, reason: 'A test' }
  },
  grantSubscription: async ({ database, server }) => {
    const { dealerId, country } = await makeSeller(database, server)
    return { dealerId, packageId: await makePackage(database.owner, { country }), reason: 'A test' }
  },
}

export const adminSamples = Object.fromEntries(
  Object.entries(inputs).map(([name, input]) => [
    name,
    async (world: SampleWorld): Promise<Sample> => ({ token: world.admin, input: await input(world) }),
  ]),
)
