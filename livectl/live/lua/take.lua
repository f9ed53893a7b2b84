-- Leases a target to one worker: ARGV are token, now, lease in seconds, where a new target starts in the outbox.
-- Without a start the lease is only renewed, by the worker that still has it.
-- Returns the target's fields, or nothing while another worker has it.
local token, now = ARGV[1], tonumber(ARGV[2])
local known = stand()
if ARGV[4] == '' and known.token ~= token then return false end
if known.token and known.token ~= token and now < tonumber(known.held_until) then return false end
if ARGV[4] ~= '' then call('HSETNX', K.state, 'cursor', ARGV[4]) end
call('HSET', K.state, 'token', token, 'held_until', now + tonumber(ARGV[3]))
return call('HGETALL', K.state)
