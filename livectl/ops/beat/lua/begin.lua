-- entry, the job it had, the job it gets: 1 if it still had that one. KEYS are running.
if (redis.call('HGET', KEYS[1], ARGV[2]) or '') ~= ARGV[3] then return {now, 0} end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4] .. ' ' .. now)
return {now, 1}
