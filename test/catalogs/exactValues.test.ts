/** No type of a column or attribute changes the values that are written to it. */
import { expect, test } from '@jest/globals'
import { useCatalogs } from './offenders.ts'

const offenders = useCatalogs()

/** Rate limits compute with floats, as clocks do. They store no value of a client. */
const FLOATS = "'^rate_limit_(counters|outcome)$'"

test('no column has a type that rounds or truncates, and none is a float', async () => {
  const query = `
    select c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
    from pg_attribute as a
    join pg_class as c on c.oid = a.attrelid
    where c.relnamespace::regnamespace::text in ('app_public', 'app_private') and c.relkind in ('r', 'p', 'c', 'v', 'm')
      and a.attnum > 0 and not a.attisdropped
      and (a.atttypmod <> -1 or a.atttypid::regtype::text in ('real', 'double precision', 'money') and c.relname !~ ${FLOATS})
    order by 1`
  expect(await offenders(query)).toEqual([])
})
