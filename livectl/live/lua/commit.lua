-- Puts the staged changes of the follow list in force: ARGV are the generation of the list that they were made for, the
-- stamp of their pieces, and platforms with the cells that they have from then on. Returns 0 where another list came
-- first, whose changes may have to be applied still.
local call = redis.call
if call('EXISTS', K.applying) == 1 or (call('GET', K.generation) or '0') ~= ARGV[1] then return 0 end
if call('EXISTS', K.staged) == 0 then return 1 end
call('RENAME', K.staged, K.applying)
call('PERSIST', K.applying)
call('INCR', K.generation)
call('SET', K.stamp, ARGV[2])
if #ARGV > 2 then call('HSET', K.platforms, unpack(ARGV, 3)) end
return 1
