-- [entries, their timings, what the caller knows of them] as JSON: from which instant on the runs of each count, as JSON.
-- KEYS are last, since, timing, names, running, paused.
local FORGOTTEN = 30 * 86400000 -- an entry that no beat had for so long is forgotten
local SOME = 100 -- forgotten in one call, so that none takes long
local entries, timings, known = unpack(cjson.decode(ARGV[2]))
local last = redis.call('HMGET', KEYS[1], unpack(entries))
local since = redis.call('HMGET', KEYS[2], unpack(entries))
local before = redis.call('HMGET', KEYS[3], unpack(entries))
local answer, had = {}, {}

for i, entry in ipairs(entries) do
  local from = tonumber(since[i] or nil)
  if not from or before[i] ~= timings[i] then
    from = not before[i] and known[i] > 0 and known[i] or now
    redis.call('HSET', KEYS[2], entry, from)
    redis.call('HSET', KEYS[3], entry, timings[i])
  end
  answer[i] = math.max(tonumber(last[i] or nil) or 0, from)
  had[2 * i - 1], had[2 * i] = now, entry
end
redis.call('ZADD', KEYS[4], unpack(had))

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now - FORGOTTEN, 'LIMIT', 0, SOME)) do
  for _, key in ipairs({KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6]}) do redis.call('HDEL', key, entry) end
  redis.call('ZREM', KEYS[4], entry)
end
return {now, cjson.encode(answer)}
