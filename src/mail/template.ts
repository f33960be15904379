/** Fills the placeholders of a mail's template. */

export type Locale = 'en' | 'de'

/** Throws for a placeholder without a value: the mail waits until the template is corrected. */
export function fill(template: string, values: Readonly<Record<string, unknown>>): string {
  return template.replace(/\{(\w+)\}/g, (_placeholder, name: string) => {
    const value = Object.hasOwn(values, name) ? values[name] : undefined
    if (value === undefined) throw new Error(`the template has an unknown placeholder {${name}}`)
    return String(value)
  })
}

/** In UTC, because nobody knows the time zone of the reader. */
export function formatTime(time: Date, locale: Locale): string {
  const options = { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' } as const
  return `${new Intl.DateTimeFormat(locale, options).format(time)} UTC`
}
