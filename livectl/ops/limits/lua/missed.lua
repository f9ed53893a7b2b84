-- ARGV from 6: ids that were told, and whose messages are not where they waited. They have no slot kept for them, and
-- come first when they come by. Replies as pump.lua does.
for i = 6, #ARGV do redis.call('ZREM', KEYS[3], ARGV[i]) end
local woken = pump()
settle()
return woken
