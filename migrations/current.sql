set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_private.rate_limit_outcome as (used double precision, reset_at double precision, retry_after integer);
exception when duplicate_object then null; end $$;
comment on type app_private.rate_limit_outcome is 'What became of a charge.';
comment on column app_private.rate_limit_outcome.used is 'How much of the window is used, this charge included; null: it was not taken.';
comment on column app_private.rate_limit_outcome.reset_at is 'When the running window ends, or what is refused would pass, in Unix seconds.';
comment on column app_private.rate_limit_outcome.retry_after is 'Seconds until what is over its limit would pass.';

-- The counters start anew. The build before no longer finds its functions, and counts in its processes, each its share, until
-- it is replaced.
drop function if exists app_public.take_rate_limit(bytea, integer, integer, integer, boolean);
drop function if exists app_public.take_rate_limits(bytea[], integer[], integer[], integer[], boolean[]);
drop function if exists app_private.take_rate_limit_at_edge(bytea, double precision, integer, integer, double precision);
drop function if exists app_private.refused_rate_limits(bytea[], integer[], integer[], integer[], boolean[], double precision);
-- cascade: the functions that take its row
-- squawk-ignore ban-drop-table
drop table if exists app_private.rate_limit_counters cascade;

-- Unlogged: counters are not worth the WAL, and a crash of the server may start them anew. No index but the key's, so that
-- an update stays on its page (HOT). All in double precision, as is the clock: the hot statement casts nothing.
create unlogged table app_private.rate_limit_counters (
  key bytea not null primary key,
  window_seconds double precision not null,
  ends_at double precision not null,
  decay double precision not null,
  current double precision not null
) with (fillfactor = 50);
comment on table app_private.rate_limit_counters is 'Sliding window counters, one row a key: used is current + decay * (ends_at - now).';
comment on column app_private.rate_limit_counters.key is 'HMAC of scope and subject.';
comment on column app_private.rate_limit_counters.window_seconds is 'Length of the window.';
comment on column app_private.rate_limit_counters.ends_at is 'End of the running window, in Unix seconds: the first begins with the key''s first hit.';
comment on column app_private.rate_limit_counters.decay is 'Count of the window before, per second of the window: so much of it leaves the sliding window each second.';
comment on column app_private.rate_limit_counters.current is 'Count of the running window.';
alter table app_private.rate_limit_counters enable row level security;
alter table app_private.rate_limit_counters force row level security;
create policy all_owner on app_private.rate_limit_counters to current_user using (true) with check (true);

--!include limits/rate_limit_counter_at.sql
--!include limits/rate_limit_used.sql
--!include limits/rate_limit_wait.sql
--!include limits/take_rate_limit_at_edge.sql
--!include limits/take_rate_limit.sql
--!include limits/take_rate_limits.sql
--!include limits/remove_idle_rate_limit_counters.sql
