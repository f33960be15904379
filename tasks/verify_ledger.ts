/** Verifies the books, keeps the result, and has operators told when a rule is broken. */
import type { Task } from 'graphile-worker'

type Check = { broken: number; seconds: number; rules: string[] }

const CHECK = `
  select c.broken, extract(epoch from c.finished_at - c.started_at)::float8 as seconds,
    array(select f ->> 'rule' from jsonb_array_elements(c.findings) as f) as rules
  from app_private.check_ledger() as c`

const verifyLedger: Task = async (_payload, { abortSignal, logger, query, withPgClient }) => {
  const [check] = await withPgClient(async client => {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
    // it may run for a minute, and a stop does not wait that long; the job is tried again
    const cancel = () => query('select pg_cancel_backend($1)', [rows[0]?.pid]).catch(() => {})
    abortSignal?.addEventListener('abort', cancel)
    try {
      return (await client.query<Check>(CHECK)).rows
    } finally {
      abortSignal?.removeEventListener('abort', cancel)
    }
  })
  if (check === undefined) throw new Error('the check of the books gave no result')
  const { broken, seconds, rules } = check
  const took = `in ${seconds.toFixed(1)} s`
  if (broken === 0) logger.info(`the books are in order, verified ${took}`)
  else logger.error(`${broken} rows of the books break a rule, found ${took}: ${rules.join('; ')}`)
}

export default verifyLedger
