-- Stands before every script.

-- Redis's clock in milliseconds. Nodes go by it and not by their own, which differ.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The next position of a partition: it only grows, even when the key was lost, because it then goes on from the time.
-- Microseconds since 1970 are exact in a double until the year 2255.
local function next_position(key)
  local time = redis.call('TIME')
  local position = time[1] * 1000000 + time[2]
  local last = tonumber(redis.call('GET', key) or 0)
  if position <= last then position = last + 1 end
  redis.call('SET', key, string.format('%.0f', position), 'EX', 86400)
  return position
end

-- Whether a message may be published: it has no idempotency key, or none has been published with it for so many seconds.
local function is_first(id_key, seconds)
  return not id_key or redis.call('SET', id_key, '', 'NX', 'EX', seconds)
end

-- An envelope with its position; see envelope.ts.
local function placed(envelope, position)
  return string.sub(envelope, 1, 3) .. struct.pack('>d', position) .. string.sub(envelope, 4)
end

