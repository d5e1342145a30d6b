-- Releases a membership, decides what kind of transition that is, and announces it. For the keys see join.lua.
local memberships, users, occupied, position_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local held_prefix, socket_id, name, listed_as, publish = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
-- Given: only a membership under this lease is released; another node may have taken it over.
local only_lease = ARGV[6]
-- Given: the node that asks holds the membership under this lease, and Redis must remember that.
local open_lease = ARGV[7]

if open_lease ~= '' and redis.call('HEXISTS', held_prefix .. open_lease, '') == 0 then return { -1 } end

local field = socket_id .. ' ' .. name
local membership = redis.call('HGET', memberships, socket_id)
local space = membership and string.find(membership, ' ', 1, true)
local lease = membership and string.sub(membership, 1, space - 1)
if not membership or (only_lease ~= '' and lease ~= only_lease) then
  if only_lease ~= '' then redis.call('HDEL', held_prefix .. only_lease, field) end
  return { 1, 0, 0, 0, redis.call('HLEN', memberships) }
end

local held = held_prefix .. lease
local on_leave = redis.call('HGET', held, field) or ''
redis.call('HDEL', held, field)
redis.call('HDEL', memberships, socket_id)

local member_removed = 0
if string.sub(membership, space + 1, space + 1) == '=' then
  local user_id = string.sub(membership, space + 2)
  local user = redis.call('HGET', users, user_id)
  local gap = string.find(user, ' ', 1, true)
  local connections = string.sub(user, 1, gap - 1) - 1
  if connections > 0 then
    redis.call('HSET', users, user_id, string.format('%d', connections) .. string.sub(user, gap))
  else
    redis.call('HDEL', users, user_id)
    member_removed = 1
  end
end

local connections = redis.call('HLEN', memberships)
if listed_as ~= '' then
  if connections == 0 then
    redis.call('HDEL', occupied, listed_as)
  else
    redis.call('HSET', occupied, listed_as, connections .. ' ' .. redis.call('HLEN', users))
  end
end

if member_removed == 1 then
  local position = next_position(position_key)
  if on_leave ~= '' then
    local colon = string.find(on_leave, ':', 1, true)
    local envelope_at = colon + 1 + string.sub(on_leave, 1, colon - 1)
    redis.call(publish, string.sub(on_leave, colon + 1, envelope_at - 1), placed(string.sub(on_leave, envelope_at), position))
  end
end

return { 1, 1, connections == 0 and 1 or 0, member_removed, connections }
