-- From now on there are maxima where operators have set none. An installation that was there before keeps what it has: no
-- maximum where its operators had set others only, and else room for the most that an app or organisation has by now.
update installation_limits
set limits = '{"connections": null, "connectionsPerAddress": null, "channelsPerConnection": null, "eventDataBytes": null,
  "clientEventsPerSecond": null, "publishesPerSecond": null, "presenceMembers": null, "appsPerOrganisation": null}' || limits;

insert into installation_limits (limits, version)
with usual (name, maximum, highest) as (
  values
    ('connections', 100000, 10000000),
    ('connectionsPerAddress', 100000, 10000000),
    ('channelsPerConnection', 1000, 100000),
    ('eventDataBytes', 65536, 262144),
    ('clientEventsPerSecond', 100, 10000),
    ('publishesPerSecond', 100000, 10000000),
    ('presenceMembers', 1000, 10000),
    ('appsPerOrganisation', 100, 100000)
),
used (name, number) as (
  select key, value::text::numeric
  from apps, jsonb_each(case jsonb_typeof(settings -> 'limits') when 'object' then settings -> 'limits' else '{}' end)
  where jsonb_typeof(value) = 'number'
  union all
  select 'appsPerOrganisation', count(*) from apps group by organisation_id
),
passed (name, most) as (
  select name, least(highest, ceil(max(number))) from usual join used using (name)
  group by name, maximum, highest
  having max(number) > maximum
)
select jsonb_object_agg(name, most), 1 from passed having count(*) > 0
on conflict (is_one) do nothing;
