-- Each node's count of its own minute: written as often as it is reported, it counts once.
alter table usage_minutes add column node_id text not null default '';
alter table usage_minutes drop constraint usage_minutes_pkey, add primary key (app_id, at, node_id);
alter table usage_minutes add column bytes_in bigint not null default 0;
alter table usage_hours add column bytes_in bigint not null default 0;
alter table usage_days add column bytes_in bigint not null default 0;
