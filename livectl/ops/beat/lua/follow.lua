-- (run, fence, job) of each claim: where a claim still has that fence, its job is followed to its end.
-- KEYS are pending, followed.
for i = 2, #ARGV, 3 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or nil) == tonumber(ARGV[i + 1]) then
    redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 2] .. ' ' .. now)
  end
end
return {now, 0}
