-- KEYS: all. ARGV: how many at most. Replies the seconds until one is due, and the names of those that are: no other
-- worker is told of them in the next second.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local names = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, name in ipairs(names) do redis.call('ZADD', KEYS[1], now + 1, name) end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
return {first and tostring(first - now) or '', unpack(names)}
