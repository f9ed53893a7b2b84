-- entry: ends its pause; replies 1 if it was paused. Its runs count from now on, so that none is caught up with.
-- KEYS are paused, since.
local was_paused = redis.call('HDEL', KEYS[1], ARGV[2])
if was_paused == 1 then redis.call('HSET', KEYS[2], ARGV[2], now) end
return {now, was_paused}
