-- born, version, going-on: what the caller has read, and whether it is in the middle of that. Replies what has changed
-- since, the oldest change first: {born, version, begin anew, more, names and words, names gone}.
-- KEYS are entries, changed, gone, entry-state.
local PAGE = 1000 -- entries in one reply, so that none keeps others from the store for long
local born, version, pruned = unpack(redis.call('HMGET', KEYS[4], 'born', 'version', 'pruned'))
local known = tonumber(ARGV[3])
version = tonumber(version or 0)
born = born or ''
local anew = born ~= ARGV[2] or known > version or known < tonumber(pruned or 0) and ARGV[4] == '0'
if not anew and known == version then return {now, {born, tostring(version), 0, 0, {}, {}}} end
if anew then known = 0 end

local changed = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. known, '+inf', 'WITHSCORES', 'LIMIT', 0, PAGE)
local more = #changed == 2 * PAGE
local reached = more and tonumber(changed[#changed]) or version
local pairs_of_entries = {}
for i = 1, #changed, 2 do
  pairs_of_entries[i], pairs_of_entries[i + 1] = changed[i], redis.call('HGET', KEYS[1], changed[i])
end
local gone = known > 0 and redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. known, reached) or {}
return {now, {born, tostring(reached), anew and 1 or 0, more and 1 or 0, pairs_of_entries, gone}}
