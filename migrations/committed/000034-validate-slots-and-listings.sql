--! Previous: sha1:df54a33548dce5f68ce1ed59c25447d43150b49b
--! Hash: sha1:f9798e9c2a479040b25c3929446884633c74c152
--! Message: validate slots and listings

set local lock_timeout to '2s';
-- It reads every row of these tables, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.dealers validate constraint dealers_slots_in_use_not_negative;
alter table app_public.listings validate constraint listings_valid;
