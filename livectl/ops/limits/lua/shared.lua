-- Begins each script about a limit. KEYS: held ("id owner" -> end of its lease), wait (id -> since when), told (id ->
-- until when a slot is kept for it), starts (id -> when it began), since (id -> "since list" of those who wait or were
-- told), all (name -> when to look again). ARGV: name, most at a time or 0, most within a time or 0, that time,
-- 'wake' where who waits can be called, 'poll' where it comes by itself: then `told` is until when it has to.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local most, amount, window = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local wakes = ARGV[5] == 'wake'
local TOLD_S = 5 -- for which a slot is kept for who was called
local KEPT_S = 86400 -- after which a limit that nobody uses is forgotten
local LOOK_S = 60 -- between two looks at a limit that is in use

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if amount > 0 then redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - window) end

local function free()
  local left = math.huge
  if most > 0 then left = most - redis.call('ZCARD', KEYS[1]) end
  if amount > 0 then left = math.min(left, amount - redis.call('ZCARD', KEYS[4])) end
  return wakes and left - redis.call('ZCARD', KEYS[3]) or left
end

local function drop(id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
  redis.call('HDEL', KEYS[5], id)
end

local function begin(id, owner, seconds)
  drop(id)
  redis.call('ZADD', KEYS[1], now + seconds, id .. ' ' .. owner)
  redis.call('EXPIRE', KEYS[1], KEPT_S)
  if amount > 0 then
    redis.call('ZADD', KEYS[4], now, id .. ' ' .. owner .. ' ' .. now)
    redis.call('PEXPIRE', KEYS[4], math.ceil(window * 1000) + 1000)
  end
end

-- Gives slots that are free to those who wait, the first first: replies ids and lists in turn.
local function pump()
  local woken = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
    local since = redis.call('HGET', KEYS[5], id)
    if wakes and since then
      redis.call('ZADD', KEYS[2], string.match(since, '^%S+'), id)
      redis.call('ZREM', KEYS[3], id)
    else
      drop(id)
    end
  end
  while wakes and free() > 0 do
    local id = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
    if not id then break end
    redis.call('ZREM', KEYS[2], id)
    redis.call('ZADD', KEYS[3], now + TOLD_S, id)
    woken[#woken + 1] = id
    woken[#woken + 1] = string.match(redis.call('HGET', KEYS[5], id) or '', ' (.*)$') or ''
  end
  return woken
end

-- Notes when to look again: when a slot may be free for who waits.
local function settle()
  local at = nil
  local function earlier(key, plus)
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if first then at = math.min(at or math.huge, first + plus) end
  end
  earlier(KEYS[3], 0)
  if redis.call('EXISTS', KEYS[2]) == 1 then
    if most > 0 then earlier(KEYS[1], 0) end
    if amount > 0 then earlier(KEYS[4], window) end
    at = math.min(at or math.huge, now + LOOK_S)
  elseif redis.call('EXISTS', KEYS[1]) == 1 then
    at = math.min(at or math.huge, now + LOOK_S)
  end
  if at then redis.call('ZADD', KEYS[6], math.max(at, now + 0.001), ARGV[1]) else redis.call('ZREM', KEYS[6], ARGV[1]) end
  return at and tostring(at - now) or ''
end
