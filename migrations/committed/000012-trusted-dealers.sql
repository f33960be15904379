--! Previous: sha1:f0fddb56f6bb15589a359115dbd861213bd0e937
--! Hash: sha1:d83338afcfc46b5027762947daa5d02ab1a69070
--! Message: trusted dealers

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Alone: readers of listings lock `listings` before `dealers`, and publications do the opposite. A migration that locked both would
-- deadlock with one of them. A constant default does not rewrite the table.
alter table app_public.dealers add column if not exists is_trusted boolean not null default false;
comment on column app_public.dealers.is_trusted is 'True: its listings are active at once, and nobody reviews them.';
