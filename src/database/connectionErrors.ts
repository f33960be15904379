/** Messages for an operator, above all about connections to the database. */

const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EHOSTUNREACH'])
/** SQLSTATEs of a login that the server refuses: an unknown role, a wrong password, no right to connect. */
const LOGIN_REFUSED = new Set(['28000', '28P01', '42501'])

export function isLoginRefused(error: unknown): boolean {
  return LOGIN_REFUSED.has(codeOf(error))
}

/** What happened and what to do next. `variable`: the name of the variable with the URL. */
export function operatorMessage(error: unknown, variable = 'DATABASE_URL'): string {
  // a host name with several addresses: the AggregateError itself has no message
  if (error instanceof AggregateError)
    return error.errors.map(one => operatorMessage(one, variable)).join('\n')
  const { message } = error as { message?: unknown }
  const code = codeOf(error)
  if (UNREACHABLE.has(code))
    return `Cannot connect (${message}). Please check ${variable} and that the server runs.`
  if (code === '28000' || code === '28P01')
    return `The server refuses the login (${message}). Please check user and password in ${variable}.`
  if (code === '3D000')
    return `Cannot connect (${message}). Please create the database, or check its name in ${variable}.`
  if (code === '53300')
    return `Cannot connect (${message}). Please raise max_connections, or stop other clients.`
  if (code === '57P03') return `Cannot connect (${message}). Please wait until the server has started.`
  return typeof message === 'string' ? message : String(error)
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | null)?.code)
}
