-- Publishes a message, unless one with its idempotency key went out before.
local channel, id = KEYS[1], KEYS[2]
local envelope, publish, id_seconds = ARGV[1], ARGV[2], ARGV[3]

if is_first(id, id_seconds) then redis.call(publish, channel, envelope) end
