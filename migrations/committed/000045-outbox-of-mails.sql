--! Previous: sha1:fd656e60f57de7a4f7b5032e7816802e372893ba
--! Hash: sha1:937811af8faec24714110b412ac94f21b2ff82c6
--! Message: outbox of mails

set local lock_timeout to '2s';
set local statement_timeout to '60s';

alter table app_public.users validate constraint users_locale_known;

create table if not exists app_private.mail_templates (
  kind text not null constraint mail_templates_kind_form check (kind ~ '^[a-z][a-z_]{2,39}$'),
  locale text not null constraint mail_templates_locale_known check (locale in ('en', 'de')),
  subject text not null constraint mail_templates_subject_length check (app_private.is_line(subject, 200)),
  body text not null constraint mail_templates_body_length check (length(body) between 1 and 10000),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (kind, locale)
);
comment on table app_private.mail_templates is 'The texts of the mails to users. A DBA may update them; the next mail has the new text.';
comment on column app_private.mail_templates.kind is 'The occasion, such as password_reset.';
comment on column app_private.mail_templates.locale is 'The language: en or de.';
comment on column app_private.mail_templates.subject is 'The subject line. {name} stands for a parameter of the mail.';
comment on column app_private.mail_templates.body is 'Plain text. {name} stands for a parameter, {token} for the token, {expiresAt} for its end.';
comment on column app_private.mail_templates.updated_at is 'When the text last changed.';

create table if not exists app_private.mails (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  kind text not null,
  locale text not null,
  recipient text not null constraint mails_recipient_form check (app_private.is_email(recipient)),
  parameters jsonb not null default '{}' constraint mails_parameters_object check (jsonb_typeof(parameters) = 'object'),
  sealed_token bytea,
  expires_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  sent_at timestamptz,
  constraint mails_template foreign key (kind, locale) references app_private.mail_templates,
  constraint mails_token_until_sent check (sent_at is null or sealed_token is null),
  constraint mails_token_ends check (sealed_token is null or expires_at is not null)
);
comment on table app_private.mails is 'The outbox of mails to users. app_private.queue_mail writes it, and the worker sends each mail once.';
comment on column app_private.mails.id is 'Time-ordered; part of the Message-ID, so that mail systems recognise a duplicate.';
comment on column app_private.mails.kind is 'The template.';
comment on column app_private.mails.locale is 'The language of the template.';
comment on column app_private.mails.recipient is 'The address, normalised.';
comment on column app_private.mails.parameters is 'The values of the template''s placeholders.';
comment on column app_private.mails.sealed_token is 'The token for the placeholder {token}, encrypted with a key that only the API and the worker have; null when the mail was sent.';
comment on column app_private.mails.expires_at is 'When the token ends. A mail that was not sent until then is not sent any more.';
comment on column app_private.mails.created_at is 'When the mail was asked for.';
comment on column app_private.mails.sent_at is 'When the mail server accepted it; null: not yet.';
create index if not exists ix_mails_created_at on app_private.mails (created_at);

select app_private.force_row_security('app_private.mail_templates');
select app_private.force_row_security('app_private.mails');

--! Included mail/queue_mail.sql
create or replace function app_private.queue_mail(
  kind text, recipient text, locale text, parameters jsonb default '{}', sealed_token bytea default null, expires_at timestamptz default null
) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_id uuid;
begin
  insert into app_private.mails (kind, recipient, locale, parameters, sealed_token, expires_at)
  values (queue_mail.kind, queue_mail.recipient, queue_mail.locale, queue_mail.parameters, queue_mail.sealed_token, queue_mail.expires_at)
  returning id into v_id;
  perform graphile_worker.add_job('send_mail', json_build_object('id', v_id), job_key := 'send_mail:' || v_id, max_attempts := 25);
end
$$;

comment on function app_private.queue_mail(text, text, text, jsonb, bytea, timestamptz) is 'Writes a mail to the outbox; the worker sends it after this transaction has committed. The text is the row of app_private.mail_templates with this kind and locale, in which {name} stands for a member of `parameters`, {token} for the token, and {expiresAt} for its end. `sealed_token` is the token as the API has encrypted it, so that the database never contains it in clear.';
--! EndIncluded mail/queue_mail.sql
