-- The superuser's part of the set-up, for a server of its own: docker-compose.yml runs it before the first migration. The owner
-- is no superuser, and the API has a login of its own whose password is not derived from the owner's.
\getenv owner_password OWNER_PASSWORD
\getenv api_password API_PASSWORD

create role forecourt_owner login createrole password :'owner_password';
create role forecourt_authenticator login noinherit password :'api_password';
create database forecourt owner forecourt_owner template template0 encoding 'UTF8' locale 'C.UTF-8';
-- lets the doctor see the API's sessions too
grant pg_read_all_stats to forecourt_owner;
-- the API's login connects only to its own database
revoke connect, temporary on database postgres from public;
revoke connect on database template1 from public;
\connect forecourt
-- no role of the API needs large objects
revoke execute on function lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) from public;
