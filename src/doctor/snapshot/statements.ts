/** The text of a snapshot, split into its statements. */

export type Statement = {
  /** Without the semicolon. */
  text: string
  /** Its first and last line in the snapshot, counted from 1. */
  line: number
  lastLine: number
}

/** Within these units a separator does not count: strings, names, bodies of functions. Then plain text, for speed. */
const UNIT =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$|\bBEGIN ATOMIC[\s\S]*?\nEND\b|[^'"$;,B]+|[\s\S]/y

/** Splits `text` at each `separator` that stands in none of these units; gives the pieces and where they begin. */
export function splitOutsideUnits(text: string, separator: string): { piece: string; offset: number }[] {
  const pieces: { piece: string; offset: number }[] = []
  let begin = 0
  for (let at = 0; at < text.length; ) {
    if (text.startsWith(separator, at)) {
      pieces.push({ piece: text.slice(begin, at), offset: begin })
      at += separator.length
      begin = at
    } else {
      UNIT.lastIndex = at
      UNIT.test(text)
      at = UNIT.lastIndex
    }
  }
  return [...pieces, { piece: text.slice(begin), offset: begin }]
}

/** The statements of a snapshot in their order, without its header. */
export function statementsOf(snapshot: string): Statement[] {
  // the header is prose: an apostrophe in it would begin a string
  const body = snapshot.replace(/^(?:--.*\n)+/, header => header.replaceAll(/[^\n]/g, ' '))
  let line = 1
  let counted = 0
  return splitOutsideUnits(body, ';\n').flatMap(({ piece, offset }) => {
    const text = piece.trimStart()
    if (text === '') return []
    const begin = offset + piece.length - text.length
    line += lineBreaks(body.slice(counted, begin))
    counted = begin
    return [{ text, line, lastLine: line + lineBreaks(text) }]
  })
}

function lineBreaks(text: string): number {
  return text.split('\n').length - 1
}
