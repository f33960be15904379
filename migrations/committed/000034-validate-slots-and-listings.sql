--! Previous: sha1:7c30c868ab7009d32ad3a028de999bd2ff814673
--! Hash: sha1:230397d35cf9132fc212cd46d1dfff31e02791e2
--! Message: validate slots and listings

set local lock_timeout to '2s';
-- It reads every row of these tables, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.dealers validate constraint dealers_slots_in_use_not_negative;
alter table app_public.listings validate constraint listings_valid;
