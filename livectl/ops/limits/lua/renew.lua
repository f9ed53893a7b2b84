-- KEYS: held. ARGV: seconds of a lease, members. One that has just ended is not there any more, and is not put back.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], ARGV[i]) end
return #ARGV - 1
