/** Renders results as Markdown tables, which are also readable on a terminal. */
import type { Result, Row, Table, Target, Unit } from './scenario.ts'
import type { Figure } from './statistics.ts'

export type Named = { name: string; seconds: number } & Result

export function renderResult(
  { name, title, tables, targets, notes, seconds }: Named,
  heading = '##',
): string {
  const parts = [`${heading} ${name}: ${title}`, ...tables.map(renderTable)]
  if (targets.length > 0) parts.push(renderTargets(targets))
  parts.push([...notes, `Took ${Math.round(seconds)} s.`].join(' '))
  return parts.join('\n\n')
}

function renderTable({ columns, rows }: Table): string {
  const used = Object.entries(columns).filter(([key]) =>
    rows.some(({ figures }) => figures[key] !== undefined),
  )
  const cells = (row: Row) => [row.name, ...used.map(([key]) => renderFigure(row.figures[key]))]
  return markdown(['', ...used.map(([, head]) => head)], rows.map(cells))
}

function renderTargets(targets: Target[]): string {
  return markdown(
    ['target', 'bound', 'measured', ''],
    targets.map(target => {
      const { name, measured, bound, sense, unit } = target
      const sign = sense === 'at least' ? '≥' : '≤'
      return [
        name,
        `${sign} ${withUnit(formatNumber(bound), unit)}`,
        `${withUnit(formatNumber(measured.median), unit)} (${formatNumber(measured.min)} – ${formatNumber(measured.max)})`,
        isMet(target) ? 'met' : 'missed',
      ]
    }),
  )
}

export function isMet({ measured, bound, sense }: Target): boolean {
  return sense === 'at least' ? measured.median >= bound : measured.median <= bound
}

/** The median, with minimum and maximum. */
function renderFigure(figure: Figure | undefined): string {
  if (figure === undefined) return ''
  const { median, min, max, rounds } = figure
  return rounds.length === 1
    ? formatNumber(median)
    : `${formatNumber(median)} (${formatNumber(min)} – ${formatNumber(max)})`
}

/** Three significant digits, with thousands separators. */
export function formatNumber(value: number): string {
  if (value === 0) return '0'
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return value.toLocaleString('en-US', { maximumFractionDigits: digits })
}

function withUnit(value: string, unit: Unit): string {
  return unit === '/s' ? `${value}${unit}` : `${value} ${unit}`
}

function markdown(head: string[], rows: string[][]): string {
  const widths = head.map((cell, index) =>
    Math.max(3, ...[head, ...rows].map(row => (row[index] ?? cell).length)),
  )
  const line = (row: string[]) =>
    `| ${row.map((cell, index) => (index === 0 ? cell.padEnd(widths[index] ?? 0) : cell.padStart(widths[index] ?? 0))).join(' | ')} |`
  const rule = `| ${widths.map((width, index) => (index === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`
  return [line(head), rule, ...rows.map(line)].join('\n')
}
