/** How passwords are hashed, wherever one is set. */
import { hash } from '@node-rs/argon2'

/** Argon2id, the first choice of the OWASP Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }

/** In PHC format, with a salt of its own. */
export function hashPassword(password: string): Promise<string> {
  return hash(password, COST)
}
