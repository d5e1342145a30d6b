-- Writes down that a lease may hold memberships in a partition, unless the lease has ended.
local leases, tags = KEYS[1], KEYS[2]
local lease, tag = ARGV[1], ARGV[2]

if not redis.call('ZSCORE', leases, lease) then return 0 end
redis.call('SADD', tags, tag)
return 1
