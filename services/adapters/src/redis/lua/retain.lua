-- Keeps a message as the topic's last one and publishes it, both with the next position.
local retained, position, channel = KEYS[1], KEYS[2], KEYS[3]
local envelope, retain_ms, publish = ARGV[1], ARGV[2], ARGV[3]

local message = placed(envelope, next_position(position))
redis.call('SET', retained, message, 'PX', retain_ms)
redis.call(publish, channel, message)
