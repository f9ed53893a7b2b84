-- entry, run, fence, due, most: a claim that still has that fence waits, unless so many of the entry wait already.
-- Replies 1 if it waits; one that does not ends, and counts no more. KEYS are pending, waiting, counts.
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[3]) or nil) ~= tonumber(ARGV[4]) then return {now, 0} end
redis.call('ZREM', KEYS[1], ARGV[3])
local waiting = {}
for due in string.gmatch(redis.call('HGET', KEYS[2], ARGV[2]) or '', '%d+') do waiting[#waiting + 1] = due end
if #waiting >= tonumber(ARGV[6]) then
  if tonumber(redis.call('HGET', KEYS[3], ARGV[2]) or 0) > 0 then redis.call('HINCRBY', KEYS[3], ARGV[2], -1) end
  return {now, 0}
end
waiting[#waiting + 1] = ARGV[5]
table.sort(waiting, function(a, b) return tonumber(a) < tonumber(b) end)
redis.call('HSET', KEYS[2], ARGV[2], table.concat(waiting, ' '))
return {now, 1}
