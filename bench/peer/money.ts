/** Amounts in the application tier, as integers of minor units, so that there are no rounding errors of floats. */

export type Charge = { net: string; vatRate: string; vat: string; gross: string }

/** VAT in percent with up to four decimals, rounded half away from zero to the currency's minor units. */
export function charge(unitPriceNet: string, vatRate: string, minorUnits: number): Charge {
  const net = round(scaled(unitPriceNet, minorUnits + 4), 10_000n)
  const vat = round(net * scaled(vatRate, 4), 1_000_000n)
  const text = (amount: bigint) => decimal(amount, minorUnits)
  return { net: text(net), vatRate, vat: text(vat), gross: text(net + vat) }
}

/** Half up, which is half away from zero, because no amount is negative. */
function round(amount: bigint, divisor: bigint): bigint {
  return (amount + divisor / 2n) / divisor
}

function scaled(value: string, decimals: number): bigint {
  const [whole = '0', fraction = ''] = value.split('.')
  return BigInt(whole + fraction.slice(0, decimals).padEnd(decimals, '0'))
}

function decimal(amount: bigint, decimals: number): string {
  if (decimals === 0) return String(amount)
  const digits = String(amount).padStart(decimals + 1, '0')
  return `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`
}
