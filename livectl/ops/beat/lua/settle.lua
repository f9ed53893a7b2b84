-- run, its entry, how it ended, how many failures pause the entry, that pause, (entry, most) of each run that follows it.
-- Replies how many have failed in a row, whether that paused the entry, and for each that follows when it is due: the
-- caller's claim; '' for one that does not run. -1 where another beat was first, or the run is still being sent.
-- KEYS are followed, pending, failures, paused, last, counts.
local run, entry, outcome, most, pause = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
if redis.call('ZSCORE', KEYS[2], run) or redis.call('HDEL', KEYS[1], run) == 0 then return {now, {-1, 0}} end

local failures, paused = 0, 0
if outcome == 'succeeded' then redis.call('HDEL', KEYS[3], entry) end
if outcome == 'failed' and most > 0 then failures = redis.call('HINCRBY', KEYS[3], entry, 1) end
if failures > 0 and failures >= most then paused = redis.call('HSETNX', KEYS[4], entry, pause) end

local function claim(follower, most_runs)
  local counted = tonumber(redis.call('HGET', KEYS[6], follower) or 0)
  if redis.call('HEXISTS', KEYS[4], follower) == 1 or (most_runs > 0 and counted >= most_runs) then return '' end
  if most_runs > 0 then redis.call('HINCRBY', KEYS[6], follower, 1) end
  -- Later than its last run, also where two runs end within a millisecond: that is what its task id is made of.
  local last = tonumber(redis.call('HGET', KEYS[5], follower) or 0)
  local due = string.format('%.0f', math.max(now, last + 1))
  redis.call('HSET', KEYS[5], follower, due)
  redis.call('ZADD', KEYS[2], now, due .. ' ' .. follower)
  return due
end

local replies = {failures, paused}
for i = 7, #ARGV, 2 do replies[#replies + 1] = claim(ARGV[i], tonumber(ARGV[i + 1])) end
return {now, replies}
