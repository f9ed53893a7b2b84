-- (run, fence) of each claim: a claim that still has that fence gets a new one, the time.
-- Replies the numbers of those claims, counted from 0. KEYS are pending.
local taken = {}

for i = 2, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or nil) == tonumber(ARGV[i + 1]) then
    redis.call('ZADD', KEYS[1], now, ARGV[i])
    taken[#taken + 1] = (i - 2) / 2
  end
end
return {now, taken}
