-- Takes a piece out of those to be applied, once it is: ARGV[1] is its first line. Returns how many are left.
local text = redis.call('LINDEX', K.applying, 0)
if text and text:sub(1, #ARGV[1] + 1) == ARGV[1] .. '\n' then redis.call('LPOP', K.applying) end
return redis.call('LLEN', K.applying)
