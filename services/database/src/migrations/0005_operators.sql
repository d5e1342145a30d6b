-- Who runs the installation, whatever they are in its organisations. Somebody always does: a user who is one is not removed.
create table operators (
  user_id text primary key references users on delete restrict,
  created_at timestamptz not null
);
-- Of an installation that was there before: who has owned the first organisation for longest.
insert into operators (user_id, created_at)
select user_id, created_at from memberships
where role = 'owner' and organisation_id = (select id from organisations order by created_at, id limit 1)
order by created_at, user_id limit 1;

-- One row, once an operator has set something: above these no limit of any app counts.
create table installation_limits (
  is_one boolean primary key default true check (is_one),
  limits jsonb not null,
  version bigint not null
);
