-- Puts the staged changes of the follow list in force: ARGV are the generation of the list that they were made for, the
-- number of shards that they were split by, the stamp of their pieces, and platforms with the cells that they have as well
-- from then on. Returns 0 where another list came first, whose changes may have to be applied still, and where cells move.
if call('EXISTS', K.applying) == 1 or (call('GET', K.generation) or '0') ~= ARGV[1] then return 0 end
if call('EXISTS', K.migrating) == 1 or call('GET', K.shards) ~= ARGV[2] then return 0 end
if call('EXISTS', K.staged) == 0 then return 1 end
call('RENAME', K.staged, K.applying)
call('PERSIST', K.applying)
call('INCR', K.generation)
call('SET', K.stamp, ARGV[3])
for at = 4, #ARGV, 2 do use(ARGV[at], ARGV[at + 1]) end
return 1
