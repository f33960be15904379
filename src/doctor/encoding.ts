/** Checks that the database can store every text and folds the case of every letter. */
import { encodingFault } from '../database/requirements.ts'
import type { Check } from './finding.ts'

export const encoding: Check = {
  name: 'encoding: UTF8, with a locale that knows every letter',
  async run({ client }) {
    const finding = await encodingFault(client)
    return finding === undefined
      ? []
      : [{ verdict: 'FAIL', finding, remedy: 'docs/operations.md, First steps; move the data with pg_dump' }]
  },
}
