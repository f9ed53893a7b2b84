-- entry, due: the run that waits first, if it is still that one and nobody has paused the entry, is the caller's claim.
-- Replies 1 if it is. KEYS are pending, waiting, paused.
local waiting = redis.call('HGET', KEYS[2], ARGV[2]) or ''
local first, rest = string.match(waiting, '^(%d+) ?(.*)$')
if first ~= ARGV[3] or redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 then return {now, 0} end
if rest == '' then
  redis.call('HDEL', KEYS[2], ARGV[2])
else
  redis.call('HSET', KEYS[2], ARGV[2], rest)
end
redis.call('ZADD', KEYS[1], now, first .. ' ' .. ARGV[2])
return {now, 1}
