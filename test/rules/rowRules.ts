/** The rules of a row in the function that the CHECK of its table calls. Each is a branch: `when not <rule> then refuse_row(…)`, or row_refusal(…). */
import type pg from 'pg'

/** `holder` is the CHECK whose function holds the rule. `field` is what a client reads in `detail.field`. */
export type RowRule = { table: string; name: string; holder: string; field: string | undefined }

type Holder = { table: string; holder: string; body: string; definition: string }

const HOLDERS = `
  select c.conrelid::regclass::text as table, c.conname as holder, p.prosrc as body, pg_get_functiondef(p.oid) as definition
  from pg_constraint as c
  join pg_depend as d on d.classid = 'pg_constraint'::regclass and d.objid = c.oid and d.refclassid = 'pg_proc'::regclass
  join pg_proc as p on p.oid = d.refobjid and p.prosrc ~ 'app_private\\.(refuse_row|row_refusal)\\('
  where c.contype = 'c' order by 1`

const BRANCH = /(?<=\n) {4}when .*?(?=\n {4}(?:when|else) )/gs
const REFUSAL = /app_private\.(?:refuse_row\('\w+', |row_refusal\()'(\w+)'/
/** The last argument, where it is one word. Messages are sentences. */
const FIELD = /', '(\w+)'\)$/

async function holders(db: Pick<pg.ClientBase, 'query'>): Promise<Holder[]> {
  return (await db.query<Holder>(HOLDERS)).rows
}

const branches = (body: string) =>
  [...body.matchAll(BRANCH)].map(([text]) => ({ text, name: REFUSAL.exec(text)?.[1] ?? '' }))

/** The rules of every table, for each table in the order in which they are evaluated. */
export async function rowRules(db: Pick<pg.ClientBase, 'query'>): Promise<RowRule[]> {
  return (await holders(db)).flatMap(({ table, holder, body }) =>
    branches(body).map(({ text, name }) => ({ table, name, holder, field: FIELD.exec(text)?.[1] })),
  )
}

/** Removes the other rules from the function that holds this one. Returns its CHECK, if the rule is in a function. */
export async function isolateRule(
  client: pg.ClientBase,
  table: string,
  name: string,
): Promise<string | undefined> {
  const found = (await holders(client)).find(
    holder => holder.table === table && branches(holder.body).some(branch => branch.name === name),
  )
  if (found === undefined) return undefined
  const others = branches(found.body).filter(branch => branch.name !== name)
  const alone = others.reduce((definition, { text }) => definition.replace(`${text}\n`, ''), found.definition)
  await client.query(alone)
  return found.holder
}
