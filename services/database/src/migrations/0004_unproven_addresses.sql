-- An address that nobody has proven is unique to nobody: an organisation that invites it, and accepts by itself, must not
-- keep out whom the address belongs to. Of those who have proven it there is one.
alter table users drop constraint users_email_key;
create unique index users_of_proven_email on users (email) where has_proven_email;
create index users_of_email on users (email, created_at, id);

-- When the secret of the first app was printed where output is kept: once.
alter table installation add column first_secret_shown_at timestamptz;

-- Answers that were kept before hold secrets, and belong to users instead of their sessions and tokens.
delete from idempotency_keys;
