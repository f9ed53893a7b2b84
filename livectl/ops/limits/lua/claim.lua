-- Whether a job is done that is the same as others. KEYS: the first ("id", "state", "due", "until", "ran"), those that gave
-- way to it, those that wait for its end (id -> list). ARGV: id, mode (drop, replace, join, debounce), seconds, list of its message.
-- Replies 'go'; 'wait' and seconds; 'gone' and the id of the first; 'join', its id and its state.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local WAITS_S = 3600 -- for which a job that waits for the end of its time, or of another, is known beyond that
local id, mode, seconds = ARGV[1], ARGV[2], tonumber(ARGV[3])
local first, state, due = unpack(redis.call('HMGET', KEYS[1], 'id', 'state', 'due'))
local function keep(extra)
  local left = math.ceil((seconds + extra) * 1000)
  redis.call('PEXPIRE', KEYS[1], left)
  redis.call('PEXPIRE', KEYS[2], left)
end
if redis.call('SISMEMBER', KEYS[2], id) == 1 then return {'gone', first or ''} end
if redis.call('HGET', KEYS[1], 'ran') == id then return {'go'} end -- it comes again, since its worker died
if not first or (mode == 'debounce' and state == 'begun' and first ~= id) then
  redis.call('HSET', KEYS[1], 'id', id, 'state', 'new', 'due', now + seconds, 'until', now + seconds)
  keep(mode == 'debounce' and WAITS_S or 0)
  return mode == 'debounce' and {'wait', tostring(seconds)} or {'go'}
end
if first == id then
  if mode == 'debounce' and state == 'new' and due - now > 0.001 then return {'wait', tostring(due - now)} end
  return {'go'}
end
if (mode == 'replace' or mode == 'debounce') and state == 'new' then
  redis.call('SADD', KEYS[2], first)
  redis.call('HSET', KEYS[1], 'id', id, 'due', now + seconds, 'until', now + seconds)
  keep(mode == 'debounce' and WAITS_S or 0)
  return mode == 'debounce' and {'wait', tostring(seconds)} or {'go'}
end
if mode == 'join' then
  if state ~= 'ended' then
    redis.call('HSET', KEYS[3], id, ARGV[4])
    redis.call('PEXPIRE', KEYS[3], math.ceil((seconds + WAITS_S) * 1000))
  end
  return {'join', first, state}
end
return {'gone', first}
