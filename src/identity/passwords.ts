/** Hashes passwords, with the same cost everywhere. */
import { randomBytes } from 'node:crypto'
import { hash } from '@node-rs/argon2'

/** Argon2id, the first choice of the OWASP Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }
const PARAMETERS = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([\w+/]+)$/
/** For an account that does not exist: the same work, and no stored hash has this salt. */
const UNKNOWN_SALT = randomBytes(16)

/** The result is in PHC format and contains a random salt. */
export function hashPassword(password: string): Promise<string> {
  return hash(password, COST)
}

/** Hashes a password with the parameters and the salt of a stored hash: its PHC string without the last part. */
export function hashAsStored(password: string, parameters: string | null): Promise<string> {
  const [, memoryCost, timeCost, parallelism, salt] = PARAMETERS.exec(parameters ?? '') ?? []
  if (salt === undefined) return hash(password, { ...COST, salt: UNKNOWN_SALT })
  return hash(password, {
    memoryCost: Number(memoryCost),
    timeCost: Number(timeCost),
    parallelism: Number(parallelism),
    salt: Buffer.from(salt, 'base64'),
  })
}
