-- (entry, run, fence) of each claim: a claim that still has that fence ends, and its run counts no more.
-- KEYS are pending, counts, followed.
for i = 2, #ARGV, 3 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i + 1]) or nil) == tonumber(ARGV[i + 2]) then
    redis.call('ZREM', KEYS[1], ARGV[i + 1])
    redis.call('HDEL', KEYS[3], ARGV[i + 1])
    if tonumber(redis.call('HGET', KEYS[2], ARGV[i]) or 0) > 0 then redis.call('HINCRBY', KEYS[2], ARGV[i], -1) end
  end
end
return {now, 0}
