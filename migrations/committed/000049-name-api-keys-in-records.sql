--! Previous: sha1:b867d72d5ee410d3b5460cbf6324431e940e0537
--! Hash: sha1:bb252d6cd1a1c0644bb6f4542d381ddcd4bb8497
--! Message: name api keys in records

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Neither column rewrites its table, and neither has a foreign key: every publication would pay for it. Keys are never deleted.
select app_private.lock_tables('app_public.listing_consumptions', 'app_public.audit_logs');
alter table app_public.listing_consumptions add column if not exists api_key_id uuid;
alter table app_public.audit_logs add column if not exists api_key_id uuid;
comment on column app_public.listing_consumptions.created_by is 'The user who published, as verified by the access token, or the maker of the API key.';
comment on column app_public.listing_consumptions.api_key_id is 'The API key that published; null if a user did.';
comment on column app_public.audit_logs.actor is 'The user who acted, or the maker of the API key; null for the system.';
comment on column app_public.audit_logs.api_key_id is E'@behavior -filterBy -orderBy\nThe API key that acted; null if none did.';
comment on column app_public.listings.created_by is 'The user who published it, or the maker of the API key that did.';
