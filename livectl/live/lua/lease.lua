-- Takes or renews what one process at a time may hold: ARGV are the token of the process, and seconds. Returns 0 while
-- another holds it, else a number, which is higher each time that it is taken.
local owner = redis.call('GET', K.holder)
if owner and owner ~= ARGV[1] then return 0 end
if not owner then redis.call('INCR', K.number) end
redis.call('SET', K.holder, ARGV[1], 'PX', math.floor(tonumber(ARGV[2]) * 1000))
return tonumber(redis.call('GET', K.number) or 1)
