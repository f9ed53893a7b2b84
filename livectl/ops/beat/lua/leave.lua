-- score, then (run, fence) of each claim: a claim that still has that fence gets the score, or ends if it is empty.
-- KEYS are pending.
for i = 3, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or nil) == tonumber(ARGV[i + 1]) then
    if ARGV[2] == '' then
      redis.call('ZREM', KEYS[1], ARGV[i])
    else
      redis.call('ZADD', KEYS[1], ARGV[2], ARGV[i])
    end
  end
end
return {now, 0}
