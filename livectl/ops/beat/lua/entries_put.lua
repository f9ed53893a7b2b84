-- Of each entry: its name, its new words (nothing takes it out), what it is to be now ('' absent, '*' anything, else its
-- words). Replies for each whether that was so and it was done.
-- KEYS are entries, changed, gone, entry-state, since, paused, counts, waiting, failures.
local MAX_GONE = 10000 -- removed names that are remembered: a beat that missed more reads everything anew
local outcomes = {}

local function mark(zset, entry)
  redis.call('ZADD', zset, redis.call('HINCRBY', KEYS[4], 'version', 1), entry)
end

local function put(entry, words, before)
  redis.call('HSET', KEYS[1], entry, words)
  redis.call('ZREM', KEYS[3], entry)
  mark(KEYS[2], entry)
  -- A new entry counts from now on; its last run stays known, so that no beat that is behind sends that again.
  if not before then redis.call('HSET', KEYS[5], entry, now) end
end

local function take_out(entry)
  redis.call('HDEL', KEYS[1], entry)
  redis.call('ZREM', KEYS[2], entry)
  mark(KEYS[3], entry)
  for _, key in ipairs({KEYS[6], KEYS[7], KEYS[8], KEYS[9]}) do redis.call('HDEL', key, entry) end
end

redis.call('HSETNX', KEYS[4], 'born', ARGV[2])
for i = 3, #ARGV, 3 do
  local entry, words, expected = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local before = redis.call('HGET', KEYS[1], entry)
  local as_expected = expected == '*' or (before or '') == expected
  if as_expected and words ~= '' then put(entry, words, before) end
  if as_expected and words == '' and before then take_out(entry) end
  outcomes[#outcomes + 1] = (as_expected and (words ~= '' or before)) and 1 or 0
end

local over = redis.call('ZCARD', KEYS[3]) - MAX_GONE
if over > 0 then
  redis.call('HSET', KEYS[4], 'pruned', redis.call('ZRANGE', KEYS[3], over - 1, over - 1, 'WITHSCORES')[2])
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, over - 1)
end
return {now, outcomes}
