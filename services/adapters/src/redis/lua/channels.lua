-- The occupied channels of a partition whose names begin with a prefix: name, counts, name, counts.
local prefix = ARGV[1]
local found = {}
local channels = redis.call('HGETALL', KEYS[1])
for index = 1, #channels, 2 do
  if string.sub(channels[index], 1, #prefix) == prefix then
    table.insert(found, channels[index])
    table.insert(found, channels[index + 1])
  end
end
return found
