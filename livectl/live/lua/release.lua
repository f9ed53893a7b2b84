-- Ends the lease of a target: ARGV are name and token.
if holds(ARGV[1], ARGV[2]) then call('HDEL', key('target', ARGV[1]), 'token', 'held_until') end
