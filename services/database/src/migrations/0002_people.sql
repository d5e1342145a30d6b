-- Who may sign in, by what, and what they are where. All moments are given by the programs, whose clock tests own.

create table users (
  id text primary key check (id ~ '^usr_[0-9A-Za-z]{1,40}$'),
  -- Trimmed and in small letters, so that one address is one user.
  email text not null unique check (email = lower(email) and length(email) between 3 and 254),
  -- Somebody has vouched for the address: the operator, or an identity provider. An invitation does not.
  has_proven_email boolean not null,
  name text not null check (length(name) between 1 and 200),
  -- Null: signs in elsewhere only.
  password_hash text,
  totp_secret_sealed text,
  -- Set up, and not yet confirmed by a code.
  totp_offered_sealed text,
  -- The step of the last code taken: a code counts once.
  totp_used_step bigint not null default 0,
  created_at timestamptz not null
);

create table recovery_codes (
  user_id text not null references users on delete cascade,
  code_hash text not null,
  primary key (user_id, code_hash)
);

create table memberships (
  organisation_id text not null references organisations on delete cascade,
  user_id text not null references users on delete cascade,
  role text not null check (role in ('owner', 'admin', 'developer', 'viewer')),
  created_at timestamptz not null,
  primary key (organisation_id, user_id)
);
create index memberships_of_user on memberships (user_id);

create table sessions (
  id text primary key,
  user_id text not null references users on delete cascade,
  created_at timestamptz not null,
  seen_at timestamptz not null,
  -- How often its cookie was replaced. The former one counts until the present one was seen, and a little longer.
  generation integer not null default 1,
  rotated_at timestamptz not null,
  confirmed_at timestamptz,
  address text not null,
  user_agent text not null
);
create index sessions_of_user on sessions (user_id, created_at, id);
create index sessions_by_age on sessions (seen_at);

create table access_tokens (
  id text primary key check (id ~ '^tok_[0-9A-Za-z]{1,40}$'),
  user_id text not null references users on delete cascade,
  label text not null check (length(label) between 1 and 200),
  token_hash text not null unique,
  -- No more than this, whatever the user is.
  role text not null check (role in ('owner', 'admin', 'developer', 'viewer')),
  -- Null: every organisation of the user.
  organisation_id text references organisations on delete cascade,
  created_at timestamptz not null,
  expires_at timestamptz,
  last_used_at timestamptz
);
create index access_tokens_of_user on access_tokens (user_id, created_at, id);

create table invitations (
  id text primary key check (id ~ '^inv_[0-9A-Za-z]{1,40}$'),
  organisation_id text not null references organisations on delete cascade,
  email text not null check (email = lower(email) and length(email) between 3 and 254),
  role text not null check (role in ('owner', 'admin', 'developer', 'viewer')),
  token_hash text not null unique,
  invited_by text references users on delete set null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  -- A new invitation replaces an old one.
  unique (organisation_id, email)
);

-- A user as an identity provider knows them.
create table identities (
  issuer text not null,
  subject text not null,
  user_id text not null references users on delete cascade,
  created_at timestamptz not null,
  primary key (issuer, subject)
);

-- Leads whoever is first to the account of the first owner. One at most: a start replaces it.
create table setup_link (
  is_one boolean primary key default true check (is_one),
  token_hash text not null,
  expires_at timestamptz not null
);

-- Tries to sign in that have not succeeded, by hashes of account and place: it grows with what strangers make up.
create table sign_in_tries (
  place_hash text primary key,
  count integer not null,
  last_at timestamptz not null
);
create index sign_in_tries_by_age on sign_in_tries (last_at);
