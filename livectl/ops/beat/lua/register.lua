-- [entries, their timings, their last runs as the caller knows them], as JSON.
-- Replies the instant from which on the runs of each entry count, as JSON.
-- KEYS are last, since, timing, names, running, paused, counts, waiting, failures.
local FORGOTTEN = 30 * 86400000 -- milliseconds without a beat that has it until an entry is forgotten
local MAX_FORGOTTEN = 100 -- entries forgotten in one call, so that none takes long
local entries, timings, known = unpack(cjson.decode(ARGV[2]))
local last = redis.call('HMGET', KEYS[1], unpack(entries))
local since = redis.call('HMGET', KEYS[2], unpack(entries))
local before = redis.call('HMGET', KEYS[3], unpack(entries))
local instants, seen = {}, {}

for i, entry in ipairs(entries) do
  local from = tonumber(since[i] or nil)
  if not from or before[i] ~= timings[i] then
    from = not before[i] and known[i] > 0 and known[i] or now
    redis.call('HSET', KEYS[2], entry, from)
    redis.call('HSET', KEYS[3], entry, timings[i])
  end
  instants[i] = math.max(tonumber(last[i] or nil) or 0, from)
  seen[2 * i - 1], seen[2 * i] = now, entry
end
redis.call('ZADD', KEYS[4], unpack(seen))

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now - FORGOTTEN, 'LIMIT', 0, MAX_FORGOTTEN)) do
  for _, key in ipairs({KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]}) do redis.call('HDEL', key, entry) end
  redis.call('ZREM', KEYS[4], entry)
end
return {now, cjson.encode(instants)}
