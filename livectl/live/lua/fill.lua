-- Begins to fill the store from a copy: ARGV are the number of the process, the name and the digest of the copy. Returns 0
-- where the store knows somebody already.
if not may_move(ARGV[1]) then return 0 end
if call('EXISTS', K.platforms, K.applying, K.outbox) > 0 then return 0 end
call('HSET', K.migrating, 'copy', ARGV[2], 'digest', ARGV[3])
return 1
