-- Reads who is asked next of those who are not being asked: ARGV are now, and how many at most. Returns them as
-- [id, due, id, due ...].
local first = call('ZRANGEBYSCORE', K.due, '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for _, word in ipairs(first_waiting('(' .. ARGV[1], ARGV[2] - #first / 2)) do first[#first + 1] = word end
return first
