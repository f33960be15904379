--! Previous: sha1:1526e35166f337f8f411bfd3c6be517a88e0acf5
--! Hash: sha1:986a3236a5507d31e38b596401c1e495cea3de6a
--! Message: fill countries of listings

--! no-transaction
-- Each batch is a transaction of its own. It waits 300 ms for a listing that another transaction has locked, and then gives way and tries
-- again. Before the indexes, which would grow with each row.
-- squawk-ignore require-lock-timeout, require-statement-timeout
do $$
declare
  v_dealer_id uuid := '00000000-0000-0000-0000-000000000000';
  v_id uuid := '00000000-0000-0000-0000-000000000000';
  v_next record;
  v_batches integer := 0;
begin
  loop
    perform set_config('lock_timeout', '300ms', true);
    begin
      with batch as materialized (
        select l.dealer_id, l.id
        from app_public.listings as l
        where (l.dealer_id, l.id) > (v_dealer_id, v_id)
        order by l.dealer_id, l.id
        limit 500
      ), filled as (
        update app_public.listings as l
        set country = d.country
        from batch as b
        join app_public.dealers as d on d.id = b.dealer_id
        where l.dealer_id = b.dealer_id and l.id = b.id and l.country is null
      )
      select b.dealer_id, b.id into v_next from batch as b order by b.dealer_id desc, b.id desc limit 1;
      exit when v_next is null;
      v_dealer_id := v_next.dealer_id;
      v_id := v_next.id;
      v_batches := v_batches + 1;
      if v_batches % 200 = 0 then
        raise notice 'The countries of % listings are filled in.', v_batches * 500;
      end if;
    exception when lock_not_available then
      perform pg_sleep(0.5);
    end;
    commit;
  end loop;
end
$$;
