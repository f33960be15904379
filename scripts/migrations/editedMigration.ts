/** The next step for a person whose committed migration no longer has the text of its hash. */

export function editedMigration(path: string): string {
  return (
    `A committed migration was edited. Restore it: git checkout ${path}. ` +
    'If it is not merged yet, delete it and commit it again (CONTRIBUTING).'
  )
}

/** Replaces the message of graphile-migrate, which names the hashes and no next step. Other errors stay as they are. */
export function explainHash(error: unknown): string {
  const [, file] = /Hash for (\S+\.sql) does not match/.exec(String(error)) ?? []
  return file === undefined ? String(error) : editedMigration(`migrations/committed/${file}`)
}
