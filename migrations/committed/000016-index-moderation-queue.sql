--! Previous: sha1:7d6f6344368218bed34bda175af3cd5ca0f82673
--! Hash: sha1:2adce636ea9a4e5c79994d01008789016da098d0
--! Message: index moderation queue

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_moderation_expression_id on app_public.listings ((coalesce(moderation_since, created_at)), id)
  where status = 'pending' or status = 'active' and moderation_since is not null;
