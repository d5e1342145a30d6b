-- The users of a topic, and up to which position that is true. A script, because clients turn the plain command's answer
-- into an object, and a user may be called __proto__.
local position = redis.call('GET', KEYS[2])
if not position then
  -- Nothing has happened since this data began: everything that will comes later than now.
  local time = redis.call('TIME')
  position = string.format('%.0f', time[1] * 1000000 + time[2] - 1)
end
return { redis.call('HGETALL', KEYS[1]), position }
