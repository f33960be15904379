--! Previous: sha1:47d4a4f7b854d6812d9754ca05841f02d7555439
--! Hash: sha1:2730ded7c3e14e251924dcdf1b4b933303886a88
--! Message: validate slots and listings

set local lock_timeout to '2s';
-- It reads every row of these tables, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.dealers validate constraint dealers_slots_in_use_not_negative;
alter table app_public.listings validate constraint listings_valid;
