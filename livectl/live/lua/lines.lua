-- Applies a piece of lines of the follow list that lead to nobody, and takes it out of those to be applied: ARGV[1] is its
-- first line, which [now, [[name, line], ...], names of the gone] follows.
local call = redis.call
local text = call('LINDEX', K.applying, 0)
if not text or text:sub(1, #ARGV[1] + 1) ~= ARGV[1] .. '\n' then return end
local _, rows, gone = unpack(cjson.decode(text:sub(#ARGV[1] + 2)))
for _, row in ipairs(rows) do call('HSET', K.unresolved, row[1], row[2]) end
for _, name in ipairs(gone) do call('HDEL', K.unresolved, name) end
call('LPOP', K.applying)
