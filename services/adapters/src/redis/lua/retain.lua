-- Keeps a message as the topic's last one and publishes it, both with the next position; once, if it has an idempotency key.
local retained, position, channel, id = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local envelope, retain_ms, publish, id_seconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if not is_first(id, id_seconds) then return end
local at = next_position(position)
local message = placed(envelope, at)
redis.call('SET', retained, message, 'PX', retain_ms)
redis.call(publish, channel, message)
return string.format('%.0f', at)
