--! Message: operation metrics

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

--!include listing/record_consumption.sql
--!include operations/subscription_metrics.sql
--!include operations/expiry_metrics.sql
--!include operations/job_metrics.sql
--!include operations/lock_metrics.sql
--!include operations/operation_metrics.sql
