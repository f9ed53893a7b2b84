-- Ends the lease of a target: ARGV is the token.
if holds(ARGV[1]) then call('HDEL', K.state, 'token', 'held_until') end
