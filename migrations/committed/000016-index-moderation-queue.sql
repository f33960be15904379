--! Previous: sha1:7d6f6344368218bed34bda175af3cd5ca0f82673
--! Hash: sha1:45cd9c412983cfec8a8c660677705005718f09aa
--! Message: index moderation queue

--! no-transaction
-- Since when a listing stands in the queue, if it does. One expression, so that a first page needs this index and no statistics.
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_moderation_expression_id
  on app_public.listings ((case status when 'pending' then coalesce(moderation_since, created_at) when 'active' then moderation_since end), id)
  where case status when 'pending' then coalesce(moderation_since, created_at) when 'active' then moderation_since end is not null;
