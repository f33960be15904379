set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- each has a parameter more
drop function if exists app_private.verify_listings();
drop function if exists app_private.verify_ledger();
drop function if exists app_private.check_ledger();

--!include operations/verify_listings.sql
--!include operations/verify_listings_from.sql
--!include operations/verify_ledger.sql
--!include operations/check_ledger.sql
