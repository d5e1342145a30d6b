-- The users of a topic. A script, because clients turn the plain command's answer into an object, and a user may be
-- called __proto__.
return redis.call('HGETALL', KEYS[1])
