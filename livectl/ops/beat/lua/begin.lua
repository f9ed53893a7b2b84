-- entry, its latest job, its next job: notes the next job, and replies 1, if the latest is still the same.
-- KEYS are running.
if (redis.call('HGET', KEYS[1], ARGV[2]) or '') ~= ARGV[3] then return {now, 0} end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4] .. ' ' .. now)
return {now, 1}
