--! Previous: sha1:0d99550e90bd9ad57df2a97abeb148f9a7ebbbde
--! Hash: sha1:d0ed8b772f82aaad63e2950f2f9d80d8d27eb661
--! Message: index moderation queue

--! no-transaction
-- Since when a listing stands in the queue, if it does. One expression, so that a first page needs this index and no statistics.
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_moderation_expression_id
  on app_public.listings ((case status when 'pending' then coalesce(moderation_since, created_at) when 'active' then moderation_since end), id)
  where case status when 'pending' then coalesce(moderation_since, created_at) when 'active' then moderation_since end is not null;
