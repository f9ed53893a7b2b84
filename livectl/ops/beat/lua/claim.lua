-- (entry, due, period, most) of each run: replies the numbers of the runs that are the caller's now, counted from 0.
-- Of an entry with a `most` that is not 0, no more runs than that are claimed. KEYS are last, pending, paused, counts.
local EARLY = 1000 -- milliseconds: a beat that claims a run earlier than that before it is due has the wrong time
local claimed = {}

for i = 2, #ARGV, 4 do
  local entry, due, period = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local last = tonumber(redis.call('HGET', KEYS[1], entry) or nil)
  -- A last run more than a period ahead is from before the clock was set back: it does not count.
  local fresh = not last or due > last or last > now + period
  local most = tonumber(ARGV[i + 3])
  local left = most == 0 or tonumber(redis.call('HGET', KEYS[4], entry) or 0) < most
  if fresh and left and due <= now + EARLY and redis.call('HEXISTS', KEYS[3], entry) == 0 then
    if most > 0 then redis.call('HINCRBY', KEYS[4], entry, 1) end
    redis.call('HSET', KEYS[1], entry, ARGV[i + 1])
    redis.call('ZADD', KEYS[2], now, ARGV[i + 1] .. ' ' .. entry)
    claimed[#claimed + 1] = (i - 2) / 4
  end
end
return {now, claimed}
