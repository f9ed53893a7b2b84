-- beat, what it is, age: notes that the beat looked in; answers the claims older than that age, each with its score.
-- KEYS are pending, seen, held.
local GONE = 60000 -- a beat that did not look in for so long is told of no more
local SOME = 1000 -- claims in one answer
local beat = cjson.decode(ARGV[3])
beat.at = now
redis.call('HSET', KEYS[2], ARGV[2], cjson.encode(beat))

local seen = redis.call('HGETALL', KEYS[2])
for i = 1, #seen, 2 do
  local at = tonumber(string.match(seen[i + 1], '"at":(%d+)') or nil)
  if not at or math.abs(now - at) > GONE then
    for _, key in ipairs({KEYS[2], KEYS[3]}) do redis.call('HDEL', key, seen[i]) end
  end
end

local stale = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4], 'WITHSCORES', 'LIMIT', 0, SOME)
-- Claims from the future: the clock was set back.
local ahead = redis.call('ZRANGEBYSCORE', KEYS[1], now + ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', 0, SOME)
for _, each in ipairs(ahead) do stale[#stale + 1] = each end
return {now, stale}
