-- (entry, timing, known) each: from which instant on its runs count.
-- KEYS are last, since, timing, names, running, paused.
local FORGOTTEN = 30 * 86400000 -- an entry that no beat had for so long is forgotten
local SOME = 100 -- forgotten in one call, so that none takes long
local answer = {}

for i = 2, #ARGV, 3 do
  local entry, timing, known = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local last = tonumber(redis.call('HGET', KEYS[1], entry) or nil) or 0
  local since = tonumber(redis.call('HGET', KEYS[2], entry) or nil)
  local before = redis.call('HGET', KEYS[3], entry)
  if not since or before ~= timing then
    since = not before and known or now
    redis.call('HSET', KEYS[2], entry, since)
    redis.call('HSET', KEYS[3], entry, timing)
  end
  redis.call('ZADD', KEYS[4], now, entry)
  answer[#answer + 1] = math.max(last, since)
end

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now - FORGOTTEN, 'LIMIT', 0, SOME)) do
  for _, key in ipairs({KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6]}) do redis.call('HDEL', key, entry) end
  redis.call('ZREM', KEYS[4], entry)
end
return {now, answer}
