-- Lets streamers, as far as they are claimed, not be due again before then: ARGV are when, and ids. As JSON, since to write
-- and to read thousands of arguments takes longer than the whole call.
local leases = {}
for at, id in ipairs(cjson.decode(ARGV[2])) do leases[2 * at - 1], leases[2 * at] = ARGV[1], id end
if #leases > 0 then redis.call('ZADD', K.claimed, 'XX', unpack(leases)) end
