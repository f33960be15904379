/** A plain model of one dealer: its listings, what paid for them, and its subscriptions. It knows nothing of SQL. */

export type Kind = 'PREMIUM' | 'HIGHLIGHT'

export type Package = {
  quotaKind: 'PER_PERIOD' | 'CONCURRENT'
  listings: number
  premium: number
  highlight: number
  overage: 'charge' | 'block'
}

export type Subscription = Package & {
  state: 'pending' | 'active' | 'cancelled' | 'ended'
  /** Counts the starts of the dealer: of two that run, the one that started first ends first. */
  started: number
  used: number
  usedPremium: number
  usedHighlight: number
}

/** What paid: the free quota, a subscription, or a price. */
type Payment = 'FREE_QUOTA' | 'PAID_EXTRA' | Subscription

export type Listing = {
  status: 'PENDING' | 'ACTIVE' | 'REJECTED' | 'WITHDRAWN' | 'SOLD' | 'EXPIRED'
  holdsSlot: boolean
  isPublished: boolean
  isRenewable: boolean
  promotions: Set<Kind>
  /** The charges that a rejection gives back, the last one first. */
  charges: Payment[]
}

/** What the API answers: the status of the listing, the source that paid, or the HTTP status and the code of the error. */
export type Answer = string

const CONFLICT = '409 conflict'
const QUOTA_EXCEEDED = '402 quota_exhausted'

export class Stock {
  readonly listings: Listing[] = []
  readonly subscriptions: Subscription[] = []
  free: number
  /** Publications, renewals and promotions that a price has paid for and that were not given back. */
  paid = { listings: 0, promotions: 0 }
  #starts = 0

  constructor(free: number) {
    this.free = free
  }

  get slotsInUse(): number {
    return this.listings.filter(({ holdsSlot }) => holdsSlot).length
  }

  get #running(): Subscription[] {
    return this.subscriptions
      .filter(({ state }) => state === 'active' || state === 'cancelled')
      .sort((a, b) => a.started - b.started)
  }

  get #pending(): Subscription[] {
    return this.subscriptions.filter(({ state }) => state === 'pending')
  }

  /** The subscription whose slots count: the largest that runs, of equal ones the newest. */
  get #slots(): Subscription | undefined {
    return this.subscriptions
      .filter(one => one.quotaKind === 'CONCURRENT' && this.#running.includes(one))
      .reduce<Subscription | undefined>(
        (best, one) => (one.listings >= (best?.listings ?? 0) ? one : best),
        undefined,
      )
  }

  #remaining(one: Subscription): number {
    if (one.quotaKind === 'PER_PERIOD') return one.listings - one.used
    return one.state === 'pending' || one === this.#slots ? Math.max(0, one.listings - this.slotsInUse) : 0
  }

  #start(subscription: Subscription): void {
    for (const pending of this.#pending) {
      for (const one of this.subscriptions) if (one.state === 'active') one.state = 'cancelled'
      pending.state = 'active'
      pending.started = ++this.#starts
      if (pending === subscription) return
    }
  }

  #startNext(): void {
    const next = this.#pending[0]
    if (next !== undefined && this.#running.length === 0) this.#start(next)
  }

  /** What would pay for a listing now; undefined if the package forbids overage. */
  decide(): Payment | undefined {
    if (this.free > 0) return 'FREE_QUOTA'
    const first = [...this.#running, ...this.#pending].find(one => this.#remaining(one) > 0)
    if (first !== undefined) return first
    const running = this.#running
    return running.length > 0 && running.every(({ overage }) => overage === 'block')
      ? undefined
      : 'PAID_EXTRA'
  }

  quote(): Answer {
    const payment = this.decide()
    return payment === undefined ? QUOTA_EXCEEDED : sourceOf(payment)
  }

  /** Charges what `decide` says. Returns the source, or the refusal. */
  #charge(listing: Listing): Answer {
    const payment = this.decide()
    if (payment === undefined) return QUOTA_EXCEEDED
    if (payment === 'FREE_QUOTA') this.free -= 1
    else if (payment === 'PAID_EXTRA') this.paid.listings += 1
    else {
      if (payment.state === 'pending') this.#start(payment)
      if (payment.quotaKind === 'PER_PERIOD') payment.used += 1
    }
    listing.holdsSlot = typeof payment === 'object' && payment.quotaKind === 'CONCURRENT'
    listing.charges.unshift(payment)
    return sourceOf(payment)
  }

  publish(): Answer {
    const listing: Listing = {
      status: 'PENDING',
      holdsSlot: false,
      isPublished: false,
      isRenewable: false,
      promotions: new Set(),
      charges: [],
    }
    const answer = this.#charge(listing)
    if (answer !== QUOTA_EXCEEDED) this.listings.push(listing)
    return answer
  }

  update({ status }: Listing): Answer {
    return status === 'PENDING' || status === 'ACTIVE' || status === 'REJECTED' ? status : CONFLICT
  }

  approve(listing: Listing): Answer {
    if (listing.status !== 'PENDING' && listing.status !== 'ACTIVE') return CONFLICT
    if (listing.status === 'PENDING') {
      listing.status = 'ACTIVE'
      listing.isPublished = true
      listing.isRenewable = false
    }
    return listing.status
  }

  reject(listing: Listing): Answer {
    if (listing.status === 'REJECTED') return listing.status
    if (listing.status !== 'PENDING' && listing.status !== 'ACTIVE') return CONFLICT
    if (listing.status === 'PENDING') this.#giveBack(listing)
    return this.#end(listing, 'REJECTED')
  }

  #giveBack(listing: Listing): void {
    const payment = listing.charges.shift()
    if (payment === 'FREE_QUOTA') this.free += 1
    else if (payment === 'PAID_EXTRA') this.paid.listings -= 1
    else if (payment?.quotaKind === 'PER_PERIOD' && payment.state !== 'ended') payment.used -= 1
  }

  withdraw(listing: Listing): Answer {
    const { status } = listing
    if (status !== 'PENDING' && status !== 'ACTIVE' && status !== 'WITHDRAWN') return CONFLICT
    return this.#end(listing, 'WITHDRAWN')
  }

  sell(listing: Listing): Answer {
    return listing.status === 'ACTIVE' || listing.status === 'SOLD' ? this.#end(listing, 'SOLD') : CONFLICT
  }

  #end(listing: Listing, status: Listing['status']): Answer {
    listing.status = status
    listing.holdsSlot = false
    listing.promotions.clear()
    return status
  }

  /** The time of an active listing is over, and an expiry run has recorded that. */
  expire(listing: Listing): void {
    if (listing.status === 'ACTIVE') this.#end(listing, 'EXPIRED')
  }

  resubmit(listing: Listing): Answer {
    if (listing.status !== 'REJECTED') return CONFLICT
    if (this.#charge(listing) === QUOTA_EXCEEDED) return QUOTA_EXCEEDED
    listing.status = 'PENDING'
    return listing.status
  }

  renew(listing: Listing): Answer {
    const isRenewable = listing.status === 'EXPIRED' || (listing.status === 'ACTIVE' && listing.isRenewable)
    if (!isRenewable) return CONFLICT
    const slots = this.#slots
    // it keeps its slot at no cost while no more slots are in use than the package includes
    if (listing.holdsSlot && slots !== undefined && this.slotsInUse <= slots.listings)
      listing.charges.unshift(slots)
    else if (!this.#chargeWithOwnSlot(listing)) return QUOTA_EXCEEDED
    listing.status = 'ACTIVE'
    listing.isRenewable = false
    return listing.status
  }

  /** The slot of the listing counts as free. */
  #chargeWithOwnSlot(listing: Listing): boolean {
    const { holdsSlot } = listing
    listing.holdsSlot = false
    const isCharged = this.#charge(listing) !== QUOTA_EXCEEDED
    if (!isCharged) listing.holdsSlot = holdsSlot
    return isCharged
  }

  promote(listing: Listing, kind: Kind): Answer {
    if (listing.status !== 'ACTIVE') return CONFLICT
    const left = (one: Subscription) =>
      kind === 'PREMIUM' ? one.premium - one.usedPremium : one.highlight - one.usedHighlight
    const next = this.#pending[0]
    const running = this.#running
    const first =
      running.find(one => left(one) > 0) ??
      (running.length === 0 && next && left(next) > 0 ? next : undefined)
    if (first === undefined) this.paid.promotions += 1
    else {
      if (first.state === 'pending') this.#start(first)
      if (kind === 'PREMIUM') first.usedPremium += 1
      else first.usedHighlight += 1
    }
    listing.promotions.add(kind)
    return first === undefined ? 'PAID_EXTRA' : 'SUBSCRIPTION_QUOTA'
  }

  buy(bought: Package): void {
    this.subscriptions.push({
      ...bought,
      state: 'pending',
      started: 0,
      used: 0,
      usedPremium: 0,
      usedHighlight: 0,
    })
    this.#startNext()
  }

  /** A member cancels the subscription: it keeps its quota until its end. */
  cancel(subscription: Subscription): Answer {
    if (subscription.state === 'ended' || subscription.state === 'pending') return CONFLICT
    subscription.state = 'cancelled'
    return 'CANCELLED'
  }

  /** The time of a running subscription is over, and an expiry run has recorded that. */
  endSubscription(subscription: Subscription): void {
    if (!this.#running.includes(subscription)) return
    subscription.state = 'ended'
    this.#startNext()
  }

  /** What a reader of the database sees. */
  view() {
    return {
      listings: this.listings.map(one =>
        [one.status, one.holdsSlot, [...one.promotions].sort().join(' ')].join(),
      ),
      subscriptions: this.subscriptions.map(one =>
        [one.state, one.used, one.usedPremium, one.usedHighlight].join(),
      ),
      slots: this.slotsInUse,
      paid: this.paid,
    }
  }
}

const sourceOf = (payment: Payment) => (typeof payment === 'string' ? payment : 'SUBSCRIPTION_QUOTA')
