-- ARGV from 6: id, owner, seconds of a lease, list of its message. Replies 1 when the job may begin; else 0 and how
-- many wait before it.
local COMES_BY_S = 120 -- within which who cannot be called comes by itself: four of its longest pauses
local LEAST_SLACK = 10
local id, member = ARGV[6], ARGV[6] .. ' ' .. ARGV[7]
if redis.call('ZSCORE', KEYS[1], member) then return {1, 0} end
local known = redis.call('HGET', KEYS[5], id)
local before = 0
if wakes and redis.call('ZREM', KEYS[3], id) == 1 then
  before = 0
else
  before = redis.call('ZRANK', KEYS[2], id) or known and 0 or redis.call('ZCARD', KEYS[2])
end
-- Who waits where nobody can be called may come in nearly any order, or a slot would wait for the very first of them.
local slack = wakes and 0 or math.max(LEAST_SLACK, 2 * math.max(most, 1))
if free() > 0 and free() + slack > before then
  drop(id)
  redis.call('ZADD', KEYS[1], now + ARGV[8], member)
  redis.call('EXPIRE', KEYS[1], KEPT_S)
  if amount > 0 then
    redis.call('ZADD', KEYS[4], now, member .. ' ' .. now)
    redis.call('PEXPIRE', KEYS[4], math.ceil(window * 1000) + 1000)
  end
  settle()
  return {1, 0}
end
local since = known and string.match(known, '^%S+') or string.format('%.6f', now)
redis.call('ZADD', KEYS[2], since, id)
redis.call('HSET', KEYS[5], id, since .. ' ' .. ARGV[9])
if not wakes then redis.call('ZADD', KEYS[3], now + COMES_BY_S, id) end
for i = 2, 5 do if i ~= 4 then redis.call('EXPIRE', KEYS[i], KEPT_S) end end
settle()
return {0, redis.call('ZRANK', KEYS[2], id)}
