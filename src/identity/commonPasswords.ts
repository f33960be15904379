/** The passwords that attackers try first: some 49,000, the most common ones of 10 million that became public. */

let known: Promise<ReadonlySet<string>> | undefined

/** Expects lower case, as the list has it. The first call reads the list (0.1 s and 4 MB), so that a start need not. */
export async function isCommonPassword(password: string): Promise<boolean> {
  known ??= readPasswords()
  return (await known).has(password)
}

async function readPasswords(): Promise<ReadonlySet<string>> {
  const { dictionary } = await import('@zxcvbn-ts/language-common')
  return new Set(dictionary['passwords-common'])
}
