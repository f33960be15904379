/** The chart of a run: a bar for each row of a table's first column, with the range of its rounds. */
import type { Row } from './scenario.ts'
import { formatNumber, type Named } from './table.ts'

const WIDTH = 900
const LABEL = 330
const BAR = 430
const LINE = 22
const COLOUR = { bar: '#4a7fb5', range: '#1d2733', text: '#1d2733', quiet: '#5b6875' }

export function drawChart(results: Named[]): string {
  const parts: string[] = []
  let y = 12
  for (const { name, title, tables } of results) {
    y += 26
    parts.push(text(16, y, `${name}: ${title}`, 'font-weight="600"'))
    for (const { columns, rows } of tables) {
      const [key, head] = Object.entries(columns)[0] ?? []
      const drawn = rows.filter(({ figures }) => key !== undefined && figures[key] !== undefined)
      if (key === undefined || drawn.length === 0) continue
      y += LINE
      parts.push(text(LABEL, y, head ?? '', `fill="${COLOUR.quiet}"`))
      for (const line of drawBars(drawn, key, y)) parts.push(line)
      y += drawn.length * LINE + 6
    }
  }
  const style = `font-family="system-ui, sans-serif" font-size="13" fill="${COLOUR.text}"`
  const size = `width="${WIDTH}" height="${y + 20}" viewBox="0 0 ${WIDTH} ${y + 20}"`
  const ground = `<rect width="100%" height="100%" fill="#ffffff"/>`
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${style}>\n${ground}\n${parts.join('\n')}\n</svg>\n`
}

function drawBars(rows: Row[], key: string, top: number): string[] {
  const most = Math.max(...rows.map(({ figures }) => figures[key]?.max ?? 0)) || 1
  const x = (value: number) => LABEL + (Math.max(value, 0) / most) * BAR
  return rows.flatMap(({ name, figures }, index) => {
    const figure = figures[key]
    if (figure === undefined) return []
    const y = top + (index + 1) * LINE
    const middle = y - 5
    const [low, high] = [x(figure.min).toFixed(1), x(figure.max).toFixed(1)]
    return [
      text(LABEL - 10, y, name, 'text-anchor="end"'),
      `<rect x="${LABEL}" y="${y - 12}" width="${(x(figure.median) - LABEL).toFixed(1)}" height="14" fill="${COLOUR.bar}"/>`,
      `<path d="M${low} ${middle}H${high}M${low} ${middle - 4}v8M${high} ${middle - 4}v8" stroke="${COLOUR.range}" fill="none"/>`,
      text(LABEL + BAR + 12, y, formatNumber(figure.median)),
    ]
  })
}

function text(x: number, y: number, content: string, attributes = ''): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${x}" y="${y}" ${attributes}>${escaped}</text>`
}
