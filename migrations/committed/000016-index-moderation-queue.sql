--! Previous: sha1:680235db18518bfd1d9a23587b04bd4e8315ba56
--! Hash: sha1:219fdd9a3e43ddc4e21df3930700e9cc91b9160b
--! Message: index moderation queue

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_moderation_expression_id on app_public.listings ((coalesce(moderation_since, created_at)), id)
  where status = 'pending' or status = 'active' and moderation_since is not null;
