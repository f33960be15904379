/** Hashes passwords, with the same cost everywhere. */
import { hash } from '@node-rs/argon2'

/** Argon2id, the first choice of the OWASP Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }

/** The result is in PHC format and contains a random salt. */
export function hashPassword(password: string): Promise<string> {
  return hash(password, COST)
}
