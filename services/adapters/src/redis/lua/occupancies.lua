-- How many connections and users are in each topic, and up to which position that is true. Keys: the partition's
-- position, then memberships and users of each topic in turn.
local answer = { redis.call('GET', KEYS[1]) or '0' }
for index = 2, #KEYS do answer[index] = redis.call('HLEN', KEYS[index]) end
return answer
