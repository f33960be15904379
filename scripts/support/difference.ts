/** The difference between two texts, for people. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runTool } from './tools.ts'

const LINES_SHOWN = 80

/** A unified diff, cut after some lines; an empty list when the texts are equal. */
export async function difference(before: string, after: string): Promise<string[]> {
  if (before === after) return []
  const directory = mkdtempSync(join(tmpdir(), 'forecourt-difference-'))
  try {
    const paths = [before, after].map((text, index) => {
      const path = join(directory, String(index))
      writeFileSync(path, text)
      return path
    })
    const [diff = ''] = await runTool('diff', [
      '--unified',
      '--label',
      'before',
      '--label',
      'after',
      ...paths,
    ])
    const lines = diff.split('\n')
    const more = lines.length - LINES_SHOWN
    return [...lines.slice(0, LINES_SHOWN), ...(more > 0 ? [`… and ${more} more lines`] : [])]
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
