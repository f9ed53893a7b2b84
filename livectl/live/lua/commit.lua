-- Puts the staged changes of the follow list in force: ARGV are the name of their stage, and the generation of the list
-- that they were made for. Returns 0 where another list came first, whose changes may have to be applied still.
local stage, base = key('staged', ARGV[1]), ARGV[2]
if call('EXISTS', 'livectl:applying') == 1 or (call('GET', 'livectl:generation') or '0') ~= base then return 0 end
if call('EXISTS', stage) == 0 then return 1 end
call('RENAME', stage, 'livectl:applying')
call('PERSIST', 'livectl:applying')
call('INCR', 'livectl:generation')
return 1
