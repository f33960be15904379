--! Previous: sha1:d668591c9b15bcc3ec5e8ea80921aef05b695614
--! Hash: sha1:037516574a754ec30cac5201061470aa386b2987
--! Message: fill countries of listings

--! no-transaction
-- Each batch is a transaction of its own, and locks its listings for a moment. Before the indexes, which would grow with each row.
-- squawk-ignore require-lock-timeout, require-statement-timeout
do $$
declare
  v_dealer_id uuid := '00000000-0000-0000-0000-000000000000';
  v_id uuid := '00000000-0000-0000-0000-000000000000';
begin
  loop
    with batch as materialized (
      select l.dealer_id, l.id
      from app_public.listings as l
      where (l.dealer_id, l.id) > (v_dealer_id, v_id)
      order by l.dealer_id, l.id
      limit 2000
    ), filled as (
      update app_public.listings as l
      set country = d.country
      from batch as b
      join app_public.dealers as d on d.id = b.dealer_id
      where l.dealer_id = b.dealer_id and l.id = b.id and l.country is null
    )
    select b.dealer_id, b.id into v_dealer_id, v_id from batch as b order by b.dealer_id desc, b.id desc limit 1;
    exit when not found;
    commit;
  end loop;
end
$$;
