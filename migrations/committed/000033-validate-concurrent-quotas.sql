--! Previous: sha1:c1ee7ad6d98cdfe3fd61e585a667021c86cf9888
--! Hash: sha1:57737148a2268d2ced74b54b747352e5e4143935
--! Message: validate concurrent quotas

set local lock_timeout to '2s';
-- It reads every row of this table, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.dealers validate constraint dealers_slots_in_use_not_negative;
