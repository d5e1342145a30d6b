-- Takes from a token bucket, kept as "DEBT READ_AT": thousandths of a unit taken and not yet refilled, and when that was
-- true in milliseconds. Whole numbers, so that no rounding gives or takes a turn.
local bucket = KEYS[1]
local cost, per_second, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) or now_ms()

local debt, read_at = 0, now
local stored = redis.call('GET', bucket)
if stored then
  local space = string.find(stored, ' ', 1, true)
  debt, read_at = tonumber(string.sub(stored, 1, space - 1)), tonumber(string.sub(stored, space + 1))
end
-- The clock may be set back; time then counts on from where it is.
debt = math.max(0, debt - math.max(0, now - read_at) * per_second)

local left = per_second * 1000 - debt
local missing = cost * 1000 - left
local is_allowed, retry_after_ms = 0, 0
if cost > per_second then
  -- It fits in no bucket; the answer is when this one is full.
  retry_after_ms = 1000
elseif missing > 0 then
  retry_after_ms = math.ceil(missing / per_second)
else
  is_allowed = 1
  debt = debt + cost * 1000
  left = left - cost * 1000
end
-- Full after a second, and a full bucket is what a name without one has; the rest is for a test whose time stands still.
redis.call('SET', bucket, string.format('%.17g %.0f', debt, now), 'PX', 10000)
return { is_allowed, math.max(0, math.floor(left / 1000)), retry_after_ms }
