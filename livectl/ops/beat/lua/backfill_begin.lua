-- the window, its first instant, how many runs it has, who asks, whether to begin anew, lease.
-- Replies {busy, done, other or ours; position; sent; number of this backfill; the window that is under way}.
-- KEYS are the backfill.
local KEPT = 90 * 86400 -- seconds after its last run
local window, first, total, caller, anew, lease = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1', tonumber(ARGV[7])
local known, owner, seen, done = unpack(redis.call('HMGET', KEYS[1], 'window', 'owner', 'seen', 'done'))
local status = 'ours'
if owner and owner ~= '' and owner ~= caller and math.abs(now - tonumber(seen)) < lease then
  status = 'busy'
elseif known and not anew and known == window and done == '1' then
  status = 'done'
elseif known and not anew and known ~= window and done ~= '1' then
  status = 'other'
else
  if known ~= window or done == '1' or anew then
    redis.call('HINCRBY', KEYS[1], 'number', 1)
    redis.call('HSET', KEYS[1], 'window', window, 'total', total, 'position', first, 'sent', 0, 'done', 0)
  end
  redis.call('HSET', KEYS[1], 'owner', caller, 'seen', now, 'stop', 0)
  redis.call('EXPIRE', KEYS[1], KEPT)
end
local position, sent, number = unpack(redis.call('HMGET', KEYS[1], 'position', 'sent', 'number'))
return {now, {status, position or first, sent or '0', number or '0', known or ''}}
