-- One node takes it upon itself to release the memberships of a lease that has ended, for a while. From the first claim on
-- the lease can never be renewed.
local leases, dying = KEYS[1], KEYS[2]
local lease, claim_ms, is_mine = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'

local now = now_ms()
if not is_mine then
  local ends = redis.call('ZSCORE', leases, lease) or redis.call('ZSCORE', dying, lease)
  if not ends or tonumber(ends) > now then return 0 end
end
redis.call('ZREM', leases, lease)
redis.call('ZADD', dying, string.format('%.0f', now + claim_ms), lease)
return 1
