--! Previous: sha1:1b538e9a48a844f7866d1fed1bc42a829e5a3c3d
--! Hash: sha1:bb1d6d2c30b848b2460eabe7537584fe9d2af504
--! Message: validate slots and listings

set local lock_timeout to '2s';
-- It reads every row of these tables, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.dealers validate constraint dealers_slots_in_use_not_negative;
alter table app_public.listings validate constraint listings_valid;
