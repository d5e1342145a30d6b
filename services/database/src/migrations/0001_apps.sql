-- Who runs what: organisations, their apps, the keys of those, and what has happened to them.

create table organisations (
  id text primary key check (id ~ '^org_[0-9A-Za-z]{1,40}$'),
  name text not null check (length(name) between 1 and 200),
  version bigint not null default 1,
  created_at timestamptz not null default now()
);

create table apps (
  -- Decimal digits: Pusher URLs parse it as a number.
  id text primary key check (id ~ '^[1-9][0-9]{0,14}$'),
  -- Not removed with their organisation: nodes must be told of every single one.
  organisation_id text not null references organisations on delete restrict,
  name text not null check (length(name) between 1 and 200),
  is_enabled boolean not null default true,
  settings jsonb not null default '{}',
  -- The place of its last change in app_changes: it grows, and is never given twice, not even to an app made anew.
  version bigint not null default 0,
  created_at timestamptz not null default now()
);
create index apps_of_organisation on apps (organisation_id, created_at, id);

create table app_keys (
  key text primary key check (key ~ '^[A-Za-z0-9_.~-]{1,128}$'),
  app_id text not null references apps on delete cascade,
  label text not null default '' check (length(label) <= 200),
  secret_sealed text not null,
  is_enabled boolean not null default true,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  last_used_at timestamptz,
  -- Keys made in one transaction have one time.
  position bigint generated always as identity
);
create index app_keys_of_app on app_keys (app_id, position);
create index app_keys_that_expire on app_keys (expires_at) where expires_at is not null and is_enabled;

create table app_revocations (
  app_id text not null references apps on delete cascade,
  by text not null check (by in ('user', 'token')),
  id text not null check (length(id) between 1 and 200),
  at timestamptz not null,
  primary key (app_id, by, id)
);
create index app_revocations_by_age on app_revocations (at);

-- What nodes follow: the order of seq is the order of the commits, since one lock is held from the one to the other.
create table app_changes (
  seq bigint generated always as identity primary key,
  app_id text not null,
  at timestamptz not null default now()
);
create index app_changes_by_age on app_changes (at);

create table webhook_endpoints (
  id text primary key check (id ~ '^wh_[0-9A-Za-z]{1,40}$'),
  app_id text not null references apps on delete cascade,
  url text not null check (length(url) between 1 and 2000),
  events text[] not null,
  secret_sealed text,
  is_enabled boolean not null default true,
  version bigint not null default 1,
  created_at timestamptz not null default now()
);
create index webhook_endpoints_of_app on webhook_endpoints (app_id, created_at, id);

-- No references: an entry outlives what it tells of.
create table audit_entries (
  id bigint generated always as identity primary key,
  organisation_id text,
  at timestamptz not null default now(),
  actor jsonb not null,
  action text not null,
  target text not null,
  details jsonb not null default '{}'
);
create index audit_entries_of_organisation on audit_entries (organisation_id, id desc);

create table usage_minutes (
  app_id text not null references apps on delete cascade,
  at timestamptz not null,
  connections_peak bigint not null default 0,
  messages_in bigint not null default 0,
  messages_out bigint not null default 0,
  bytes_out bigint not null default 0,
  refused bigint not null default 0,
  primary key (app_id, at)
);
create index usage_minutes_by_age on usage_minutes (at);
create table usage_hours (like usage_minutes including all);
create table usage_days (like usage_minutes including all);
alter table usage_hours add foreign key (app_id) references apps on delete cascade;
alter table usage_days add foreign key (app_id) references apps on delete cascade;

create table idempotency_keys (
  principal text not null,
  key text not null check (length(key) between 1 and 200),
  request_hash text not null,
  -- Null while the first request is under way.
  response_status integer,
  response_body jsonb,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (principal, key)
);
create index idempotency_keys_by_age on idempotency_keys (expires_at);

-- One row, when the first key has sealed something: whoever comes with another key is told at once.
create table installation (
  is_one boolean primary key default true check (is_one),
  sealed_check text not null,
  created_at timestamptz not null default now()
);
