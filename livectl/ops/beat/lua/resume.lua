-- entries: ends their pauses; replies how many were paused. Their runs count from now on, so that none is caught up with.
-- KEYS are paused, since, failures.
local resumed = 0
for i = 2, #ARGV do
  if redis.call('HDEL', KEYS[1], ARGV[i]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[i], now)
    redis.call('HDEL', KEYS[3], ARGV[i])
    resumed = resumed + 1
  end
end
return {now, resumed}
