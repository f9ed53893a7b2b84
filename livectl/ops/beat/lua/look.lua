-- beat, its heartbeat, age: notes the heartbeat; replies the claims older than that age, each with its score.
-- KEYS are pending, seen, held.
local GONE = 60000 -- milliseconds after its last heartbeat until a beat is forgotten
local MAX_CLAIMS = 1000 -- claims in one reply
local heartbeat = cjson.decode(ARGV[3])
heartbeat.at = now
redis.call('HSET', KEYS[2], ARGV[2], cjson.encode(heartbeat))

local seen = redis.call('HGETALL', KEYS[2])
for i = 1, #seen, 2 do
  local at = tonumber(string.match(seen[i + 1], '"at":(%d+)') or nil)
  if not at or math.abs(now - at) > GONE then
    for _, key in ipairs({KEYS[2], KEYS[3]}) do redis.call('HDEL', key, seen[i]) end
  end
end

local stale = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4], 'WITHSCORES', 'LIMIT', 0, MAX_CLAIMS)
-- Claims from the future: the clock was set back.
local ahead = redis.call('ZRANGEBYSCORE', KEYS[1], now + ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', 0, MAX_CLAIMS)
for _, claim_or_score in ipairs(ahead) do stale[#stale + 1] = claim_or_score end
return {now, stale}
