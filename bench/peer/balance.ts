/**
 * What a metering product does for one event: it deducts from one balance, once for each key.
 *
 * Done: the balance is locked, must suffice, and is stored as JSON, as such products do; a row with the key makes a retry
 * harmless; both commit together and durably. Not done: who may deduct, which of several balances pays, prices and VAT,
 * invoices, the listing itself, an audit trail, a row that proves the amount. A publication does all of these, so the
 * distance between both is the price of those rules, not of a worse implementation.
 */
import type pg from 'pg'

type Queryable = Pick<pg.Pool, 'query'>

/** Not enough credits. A check violation, as a constraint would raise. */
const TABLES = `
  create table bench_balances (customer_id uuid primary key, balance jsonb not null) with (fillfactor = 50);
  create table bench_deductions (
    customer_id uuid not null, key uuid not null, amount numeric not null, created_at timestamptz not null default now(),
    primary key (customer_id, key));
  create function bench_deduct(customer_id uuid, key uuid, amount numeric) returns numeric
    language plpgsql as $$
  declare
    v_credits numeric;
  begin
    insert into bench_deductions (customer_id, key, amount) values ($1, $2, $3) on conflict do nothing;
    if found then
      update bench_balances as b
      set balance = jsonb_set(b.balance, '{credits}', to_jsonb((b.balance ->> 'credits')::numeric - $3))
      where b.customer_id = $1 and (b.balance ->> 'credits')::numeric >= $3
      returning (b.balance ->> 'credits')::numeric into v_credits;
      if not found then
        raise exception 'not enough credits' using errcode = 'check_violation';
      end if;
    else
      select (b.balance ->> 'credits')::numeric into v_credits from bench_balances as b where b.customer_id = $1;
    end if;
    return v_credits;
  end
  $$`

export const DEDUCT = 'select bench_deduct($1, $2, $3)'

/** Makes the tables, and a balance for each customer. */
export async function makeBalances(db: Queryable, customerIds: string[], credits: number): Promise<void> {
  await db.query(TABLES)
  await db.query(
    `insert into bench_balances (customer_id, balance)
     select c.id, jsonb_build_object('credits', $2::numeric, 'plan', 'fleet', 'unit', 'listing')
     from unnest($1::uuid[]) as c (id)`,
    [customerIds, credits],
  )
}
