-- Takes or renews what one process at a time may hold: ARGV are the token of the process, and seconds. Returns whether
-- the process holds it.
local owner = redis.call('GET', K.holder)
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', K.holder, ARGV[1], 'PX', math.floor(tonumber(ARGV[2]) * 1000))
return 1
