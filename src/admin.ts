/** `npm run admin`: makes admins and opens countries, as the owner of the database. */
import { parseArgs } from 'node:util'
import type pg from 'pg'
import { operatorMessage } from './database/connectionErrors.ts'
import { requireMigrations } from './database/migrations.ts'
import { normalEmail } from './identity/emails.ts'
import { asOwner } from './owner.ts'

const USAGE = `Usage: npm run admin -- grant EMAIL
       npm run admin -- revoke EMAIL
       npm run admin -- list
       npm run admin -- open-country DE --currency EUR --vat 19 --price 5.00`

type Action = (client: pg.Client) => Promise<string>

/** The action that the arguments ask for. Throws the usage if they ask for none. */
function actionOf(args: string[]): Action {
  const { positionals, values } = parse(args)
  const [command, subject, ...more] = positionals
  const isAlone = Object.keys(values).length === 0
  if (more.length === 0 && isAlone) {
    if (command === 'list' && subject === undefined) return listAdmins
    if (command === 'grant' && subject !== undefined) return client => setAdmin(client, subject, true)
    if (command === 'revoke' && subject !== undefined) return client => setAdmin(client, subject, false)
  }
  const { currency, vat, price } = values
  const isComplete = currency !== undefined && vat !== undefined && price !== undefined
  if (command === 'open-country' && subject !== undefined && more.length === 0 && isComplete) {
    for (const [option, value] of Object.entries({ vat, price })) requireNumber(option, value)
    return client => openCountry(client, [subject, currency, vat, price])
  }
  throw new Error(USAGE)
}

function parse(args: string[]) {
  const option = { type: 'string' } as const
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: { currency: option, vat: option, price: option },
    })
  } catch {
    throw new Error(USAGE)
  }
}

function requireNumber(option: string, value: string): void {
  if (!/^\d{1,9}(\.\d{1,9})?$/.test(value))
    throw new Error(`Please give --${option} a number such as 19 or 8.1, not "${value}".`)
}

async function setAdmin(client: pg.Client, email: string, isAdmin: boolean): Promise<string> {
  const { rows } = await client.query<{ changed: boolean }>(
    'select app_private.set_admin($1, $2) as changed',
    [normalEmail(email), isAdmin],
  )
  const state = isAdmin ? 'an admin' : 'not an admin'
  const next = isAdmin
    ? 'Access tokens carry the role, so this user must log in again.'
    : 'The sessions of this user have ended. Within a second, every API process refuses their access tokens.'
  return rows[0]?.changed ? `${email} is ${state} now. ${next}` : `${email} was ${state} already.`
}

async function listAdmins(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ email: string }>(
    'select u.email from app_public.users as u where u.is_admin order by u.email',
  )
  if (rows.length === 0) return 'There is no admin yet. Make one with: npm run admin -- grant EMAIL'
  return rows.map(({ email }) => email).join('\n')
}

async function openCountry(client: pg.Client, values: string[]): Promise<string> {
  const [country, currency, vat] = values
  const { rows } = await client.query<{ minor_units: number; price: string }>(
    `select c.minor_units, app_private.money(trim_scale($4), c.minor_units) as price
     from app_private.open_country($1, $2, $3, $4) as c`,
    values,
  )
  const places = `${rows[0]?.minor_units} decimal places`
  return (
    `${country} is open: a listing costs ${rows[0]?.price} ${currency} plus ${vat} % VAT, and ${currency} has ${places}. ` +
    'Free listings and packages are next: docs/operations.md, "First steps".'
  )
}

async function main(): Promise<void> {
  const action = actionOf(process.argv.slice(2))
  await asOwner({ name: 'forecourt admin', lockTimeoutMs: 10_000 }, async client => {
    await requireMigrations(client)
    process.stdout.write(`${await action(client).catch(error => refuse(client, error))}\n`)
  })
}

/** Throws a sentence that names the next step. It is the hint of our functions' errors, and the comment of a constraint. */
async function refuse(client: pg.Client, error: unknown): Promise<never> {
  const { code = '', message, hint, schema, constraint } = error as pg.DatabaseError
  if (code.startsWith('FC')) throw new Error([message, hint].filter(Boolean).join(' '))
  if (constraint === undefined) throw error
  const { rows } = await client.query<{ comment: string | null }>(
    `select obj_description(c.oid, 'pg_constraint') as comment
     from pg_constraint as c where c.connamespace = to_regnamespace($1) and c.conname = $2`,
    [schema, constraint],
  )
  // the first line of a comment may name the field of the API
  throw new Error(rows[0]?.comment?.replace(/^@.*\n/, '') ?? `${message}.`)
}

try {
  await main()
} catch (error) {
  process.stderr.write(`${operatorMessage(error)}\n`)
  process.exitCode = 1
}
