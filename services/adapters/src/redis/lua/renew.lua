-- A node says that it lives, and hears which nodes have stopped saying so.
--
-- cluster  hash of what all nodes agree on:
--   epoch   a random name, given to this data when it began; another one means that everything was lost
--   seen    when a node last renewed
--   grace   until when no node is taken for dead
--   settle  until when nodes that lived through a loss put back their memberships
local leases, dying, cluster = KEYS[1], KEYS[2], KEYS[3]
local lease, lease_ms, known_epoch, new_epoch = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local is_new, silence_ms, settle_ms = ARGV[5] == '1', tonumber(ARGV[6]), tonumber(ARGV[7])

local now = now_ms()
local function number(value) return string.format('%.0f', value) end

local state = redis.call('HMGET', cluster, 'epoch', 'seen', 'grace', 'settle')
local epoch, seen = state[1], tonumber(state[2] or nil)
local grace, settle = tonumber(state[3] or 0), tonumber(state[4] or 0)
if not epoch then
  epoch = new_epoch
  redis.call('HSET', cluster, 'epoch', epoch)
end

-- When nobody renewed for so long, it was Redis or its clock that failed, not the nodes: each gets a whole lease more.
if not seen or now < seen or now - seen > silence_ms then
  grace = now + lease_ms
  redis.call('HSET', cluster, 'grace', number(grace))
  if seen and now < seen then
    -- Set back: what was to end soon would now end as much later, the claim of a node that died over its work too.
    for _, key in ipairs({ leases, dying }) do
      for _, other in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZADD', key, number(grace), other) end
    end
    if settle > now + settle_ms then
      settle = now + settle_ms
      redis.call('HSET', cluster, 'settle', number(settle))
    end
  end
end
redis.call('HSET', cluster, 'seen', number(now))

local status = 'held'
if known_epoch ~= '' and known_epoch ~= epoch then
  status = 'lost'
  if settle == 0 then
    settle = now + settle_ms
    redis.call('HSET', cluster, 'settle', number(settle))
  end
elseif not is_new and not redis.call('ZSCORE', leases, lease) then
  status = 'swept'
end
if status ~= 'swept' then redis.call('ZADD', leases, number(now + lease_ms), lease) end

local ended = redis.call('ZRANGEBYSCORE', dying, '-inf', number(now), 'LIMIT', 0, 8)
if now >= grace then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', number(now), 'LIMIT', 0, 8)) do
    table.insert(ended, other)
  end
end
return { status, epoch, math.max(0, settle - now), ended }
