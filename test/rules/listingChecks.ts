/** For each CHECK of the listings and the ledger: values that it refuses, and their valid neighbours. */
import { type Check, check } from './checks.ts'
import type { Row } from './rows.ts'
import { addUp, LATER, SOONER } from './salesChecks.ts'

const times = (count: number) => 'a'.repeat(count)

const source = (name: string) => `source = '${name}'`
const ID = '0190a000-0000-7000-8000-000000000001'
const PROOFS = ['subscription_id', 'price_config_id', 'invoice_item_id']
/** Every other set of proofs than the row has: one more, one less, or one of another kind. */
const proofs = (names: string[]): Row =>
  Object.fromEntries(PROOFS.map(name => [name, names.includes(name) ? ID : null]))
const SETS = [
  [],
  ...PROOFS.map(name => [name]),
  ['subscription_id', 'price_config_id'],
  ['subscription_id', 'invoice_item_id'],
  ['price_config_id', 'invoice_item_id'],
  PROOFS,
]
const VALID: Record<string, string> = {
  free_quota: '',
  subscription_quota: 'subscription_id',
  paid_extra: 'price_config_id invoice_item_id',
}
const proven = (valid: boolean): Row[] =>
  Object.entries(VALID).flatMap(([name, set]) =>
    SETS.filter(names => (names.join(' ') === set) === valid).map(names => ({
      source: name,
      ...proofs(names),
    })),
  )

const published = (published_at: string | null, expires_at: string | null): Row => ({
  published_at,
  expires_at,
})

const lasting = (starts_at: string, ends_at: string): Row => ({ starts_at, ends_at })

const image = (length: number) => `https://a/${'b'.repeat(length - 'https://a/'.length)}`

export const LISTING_CHECKS: Record<string, Check> = {
  'app_public.listings listings_title_length': check(
    'title',
    ['', ' ', '\t', '\u00a0', '\u200b', '\u200d', 'a\nb', 'a\u0308', times(201)],
    ['a', times(200)],
  ),
  'app_public.listings listings_description_length': check(
    'description',
    [times(10_001), 'a\u0007', 'a\rb', 'a\u0308'],
    [null, '', 'a\n\tb', times(10_000)],
  ),
  'app_public.listings listings_module_form': check(
    'module',
    ['', '1a', '_a', '-a', 'a b', times(41)],
    ['a', 'A_-1', times(40)],
  ),
  'app_public.listings listings_price_range': check(
    'price',
    ['-0.01', '1000000000000', 'NaN'],
    ['0', '999999999999.99'],
  ),
  'app_public.listings listings_price_scale': check('price', ['0.00001'], ['0.0001']),
  'app_public.listings listings_attributes_object': check('attributes', [[], 'a', 1], [{}, { a: 1 }]),
  'app_public.listings listings_expires_after_publication': {
    refused: [
      published(SOONER, null),
      published(null, LATER),
      published(SOONER, SOONER),
      published(LATER, SOONER),
    ],
    accepted: [published(null, null), published(SOONER, LATER)],
  },
  'app_public.listings listings_external_id_length': check(
    'external_id',
    ['', ' ', '\u200b', 'a\nb', 'a\u0308', times(101)],
    [null, 'a', times(100)],
  ),
  'app_public.listings listings_moderation_has_time': {
    refused: [
      { moderation_reason: 'new', moderation_since: null },
      { moderation_reason: null, moderation_since: SOONER },
    ],
    accepted: [
      { moderation_reason: null, moderation_since: null },
      { moderation_reason: 'new', moderation_since: SOONER },
    ],
  },
  'app_public.listings listings_rejected_has_reason': {
    refused: [
      { rejected_at: null, rejection_reason: 'a' },
      { rejected_at: SOONER, rejection_reason: null },
    ],
    accepted: [
      { rejected_at: null, rejection_reason: null },
      { rejected_at: SOONER, rejection_reason: 'a' },
    ],
  },
  'app_public.listings listings_rejection_reason_length': check(
    'rejection_reason',
    ['', ' ', '\n', 'a\u0007', 'a\u0308', times(1_001)],
    [null, 'a', 'a\nb', times(1_000)],
  ),
  'app_public.listings listings_images_count': check(
    'images',
    [Array(51).fill('a'), [['a'], ['b']]],
    [[], ['a'], Array(50).fill('a')],
  ),
  'app_public.listings listings_images_present': check('images', [[null], ['a', null]], [[], ['a']]),
  'app_public.listings listings_images_form': check(
    'images',
    ['', 'a', 'ftp://a', 'https://', 'https:///a', 'https://a b', 'https://a\u200b', image(2_001)].map(
      image => [image],
    ),
    [[], [image(2_000)], ['http://a', 'https://a.b/c?d#e']],
  ),
  'app_public.listing_promotions listing_promotions_ends_after_start': {
    refused: [lasting(SOONER, SOONER), lasting(LATER, SOONER)],
    accepted: [lasting(SOONER, LATER)],
  },
  'app_public.listing_consumptions listing_consumptions_number_positive': check('number', [0, -1], [1, 2]),
  'app_public.listing_consumptions listing_consumptions_reversal_has_row': {
    refused: [
      { kind: 'reversal', reverses: null },
      { kind: 'publication', reverses: ID },
      { kind: 'renewal', reverses: ID },
    ],
    accepted: [
      { kind: 'reversal', reverses: ID },
      { kind: 'renewal', reverses: null },
    ],
  },
  'app_public.listing_consumptions listing_consumptions_source_has_proof': {
    refused: [...proven(false), { source: 'paid_extra', kind: 'reversal', ...proofs([]) }],
    accepted: [
      ...proven(true),
      { source: 'subscription_quota', kind: 'reversal', ...proofs([]) },
      { source: 'paid_extra', kind: 'reversal', ...proofs(['price_config_id']) },
    ],
    where: "kind = 'publication'",
  },
  'app_public.listing_consumptions listing_consumptions_only_extras_cost': {
    refused: ['free_quota', 'subscription_quota'].map(name => ({ source: name, net_amount: '0.01' })),
    accepted: [
      { source: 'free_quota', net_amount: '0' },
      { source: 'subscription_quota', net_amount: '0' },
      { source: 'paid_extra', net_amount: '0.01' },
    ],
  },
  'app_public.listing_consumptions listing_consumptions_amounts_add_up': {
    ...addUp('net_amount vat_amount gross_amount'),
    where: `${source('paid_extra')} and kind = 'publication'`,
  },
}
