-- Leases a target to one worker: ARGV are name, token, now, lease in seconds, where a new target starts in the outbox.
-- Returns the target's fields, or nothing while another worker has it.
local name, token, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local known = stand(name)
if known.token and known.token ~= token and now < tonumber(known.held_until) then return false end
call('HSETNX', key('target', name), 'cursor', ARGV[5])
call('HSET', key('target', name), 'token', token, 'held_until', now + tonumber(ARGV[4]))
return call('HGETALL', key('target', name))
