-- ARGV from 6: owner, then ids: their slots are free, and they wait no more. Replies as pump.lua does.
for i = 7, #ARGV do
  redis.call('ZREM', KEYS[1], ARGV[i] .. ' ' .. ARGV[6])
  drop(ARGV[i])
end
local woken = pump()
settle()
return woken
