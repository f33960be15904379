--! Previous: sha1:3de5ff61a22ba63575a86c36953f0cef856ff981
--! Hash: sha1:f5d562332f209412008b193d258f81d0f3882c1f
--! Message: consumption kinds

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Alone: a transaction cannot use the values that it adds.
alter type app_public.consumption_kind add value if not exists 'renewal' after 'publication';
alter type app_public.consumption_kind add value if not exists 'premium' after 'renewal';
alter type app_public.consumption_kind add value if not exists 'highlight' after 'premium';
alter type app_public.consumption_kind add value if not exists 'reversal' after 'highlight';
comment on type app_public.consumption_kind is 'The action that a ledger row is for. reversal: it gives back the charge of another row.';
