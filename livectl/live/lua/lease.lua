-- Takes or renews what one process at a time may hold: ARGV are its name, the token of the process, seconds. Returns
-- whether the process holds it.
local name = 'livectl:lease:' .. ARGV[1]
local owner = call('GET', name)
if owner and owner ~= ARGV[2] then return 0 end
call('SET', name, ARGV[2], 'PX', math.floor(tonumber(ARGV[3]) * 1000))
return 1
