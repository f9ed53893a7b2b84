-- KEYS: as claim. ARGV: id, its new state (begun, ended), seconds that it is to be known for at least, 1 where it is
-- forgotten when it has ended. Replies 1, or 0 where another job took its place;
-- then ids and lists, in turn, of those that waited for its end.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local first, ends = unpack(redis.call('HMGET', KEYS[1], 'id', 'until'))
if not first then return {1} end
if first ~= ARGV[1] then return {redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 and 0 or 1} end
local reply = {1}
if ARGV[2] == 'ended' then
  for _, word in ipairs(redis.call('HGETALL', KEYS[3])) do reply[#reply + 1] = word end
  redis.call('DEL', KEYS[3])
  if ARGV[4] == '1' or now >= tonumber(ends) then
    redis.call('DEL', KEYS[1], KEYS[2])
    return reply
  end
end
if ARGV[2] == 'begun' then redis.call('HSET', KEYS[1], 'ran', first) end
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'state', ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], math.ceil(math.max(tonumber(ends) - now, tonumber(ARGV[3])) * 1000))
return reply
