-- Leases a target to one worker: ARGV are name, token, now, lease in seconds, where a new target starts in the outbox.
-- Without a start the lease is only renewed, by the worker that still has it.
-- Returns the target's fields, or nothing while another worker has it.
local name, token, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local known = stand(name)
if ARGV[5] == '' and known.token ~= token then return false end
if known.token and known.token ~= token and now < tonumber(known.held_until) then return false end
if ARGV[5] ~= '' then call('HSETNX', key('target', name), 'cursor', ARGV[5]) end
call('HSET', key('target', name), 'token', token, 'held_until', now + tonumber(ARGV[4]))
return call('HGETALL', key('target', name))
