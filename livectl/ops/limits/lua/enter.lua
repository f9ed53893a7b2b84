-- ARGV from 6: id, owner, seconds of a lease, list of its message. Replies 1 when the job may begin; else 0 and how
-- many wait before it. Where its message is in this database, also: tag, seconds until it comes by itself, and more of
-- them for each that waits before it, head and queue. Then it waits from now on, and `delay` says whether it could.
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
  begin(id, ARGV[7], ARGV[8])
  settle()
  return {1, 0}
end
local since = known and string.match(known, '^%S+') or string.format('%.6f', now)
redis.call('ZADD', KEYS[2], since, id)
redis.call('HSET', KEYS[5], id, since .. ' ' .. ARGV[9])
if not wakes then redis.call('ZADD', KEYS[3], now + COMES_BY_S, id) end
for i = 2, 5 do if i ~= 4 then redis.call('EXPIRE', KEYS[i], KEPT_S) end end
settle()
local rank = redis.call('ZRANK', KEYS[2], id)
if not ARGV[10] then return {0, rank} end
return {0, rank, delay(ARGV[10], now + ARGV[11] + ARGV[12] * rank, 0, ARGV[9], id, ARGV[13], ARGV[14])}
