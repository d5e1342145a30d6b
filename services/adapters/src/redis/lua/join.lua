-- Takes a membership in a topic, decides what kind of transition that is, and announces it.
--
-- memberships     hash: socket id -> "LEASE -" or, with a member, "LEASE =USER ID"
-- users     hash: user id -> "CONNECTIONS ARRIVAL USER INFO"; who arrived first has the lowest arrival
-- occupied  hash: channel -> "CONNECTIONS USERS"
-- held      hash, one for each lease: "SOCKET ID NAME" -> what announces the leave: "LENGTH:CHANNEL ENVELOPE" or "".
--           Its field "" is there from when the lease was opened here until somebody began to release its memberships.
local memberships, users, occupied, position_key, held, channel = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local held_prefix, lease, socket_id, name, listed_as = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local is_member, user_id, user_info, member_limit = ARGV[6] == '1', ARGV[7], ARGV[8], tonumber(ARGV[9])
local publish, envelope, on_leave = ARGV[10], ARGV[11], ARGV[12]
-- Put back after a loss of data: nobody is told, because nobody was told that it was gone. Its arrival comes along.
local is_put_back, arrival = ARGV[13] == '1', ARGV[14]

if redis.call('HEXISTS', held, '') == 0 then return { -1 } end

local field = socket_id .. ' ' .. name
local membership = redis.call('HGET', memberships, socket_id)
local was_occupied = redis.call('EXISTS', memberships)
local member_added = 0
local position = nil

if membership then
  local space = string.find(membership, ' ', 1, true)
  local owner = string.sub(membership, 1, space - 1)
  is_member = string.sub(membership, space + 1, space + 1) == '='
  if owner ~= lease then
    -- Taken over from a lease that is being released, before that came to this membership.
    local kept = redis.call('HGET', held_prefix .. owner, field)
    redis.call('HDEL', held_prefix .. owner, field)
    redis.call('HSET', held, field, kept or on_leave)
    redis.call('HSET', memberships, socket_id, lease .. string.sub(membership, space))
  end
else
  local user = is_member and redis.call('HGET', users, user_id)
  if is_member and not user then
    if member_limit and redis.call('HLEN', users) >= member_limit then return { 0 } end
    member_added = 1
    if not is_put_back then
      position = next_position(position_key)
      arrival = string.format('%.0f', position)
    end
    redis.call('HSET', users, user_id, '1 ' .. arrival .. ' ' .. user_info)
  elseif is_member then
    local space = string.find(user, ' ', 1, true)
    redis.call('HSET', users, user_id, string.format('%d', string.sub(user, 1, space - 1) + 1) .. string.sub(user, space))
  end
  redis.call('HSET', memberships, socket_id, lease .. (is_member and ' =' .. user_id or ' -'))
  redis.call('HSET', held, field, on_leave)
  if listed_as ~= '' then
    redis.call('HSET', occupied, listed_as, redis.call('HLEN', memberships) .. ' ' .. redis.call('HLEN', users))
  end
  if position and envelope ~= '' then redis.call(publish, channel, placed(envelope, position)) end
end

return {
  1,
  was_occupied,
  member_added,
  redis.call('HLEN', memberships),
  redis.call('GET', position_key) or '0',
  is_member and redis.call('HGETALL', users) or {},
}
