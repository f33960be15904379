/**
 * Messages of graphql-js without the values that they repeat. A value may be a password, and clients log messages. The names of
 * variables, fields and types stay.
 */

/** How graphql-js begins the reason after `got invalid value …; `. The value may contain a semicolon too. */
const VARIABLE =
  /^(Variable "\$\w+") got invalid value (.*); ((?:Expected|Exactly|Field|Value|Enum|\w+ cannot represent) .*)$/s
const PATH = / at "[\w.[\]]+"$/

export function withoutValues(message: string): string {
  const [, variable, value = '', reason = message] = VARIABLE.exec(message) ?? []
  const fault = reason
    .replace(/^((?:Enum )?\S+ cannot represent [^:]*): .*$/s, '$1.')
    .replace(/^Value ".*" does not exist/s, 'The value does not exist')
    .replace(/^(Expected value of type "[^"]*"), found .*$/s, '$1.')
    .replace(/^(Syntax Error: .*?found )(?:String|BlockString) ".*$/s, '$1a string.')
  return variable === undefined ? fault : `${variable} is not valid${PATH.exec(value)?.[0] ?? ''}: ${fault}`
}
