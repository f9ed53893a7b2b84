-- who asks, when the run is due that it has just sent (or nothing), '1' if it ends, '1' if all are sent.
-- Replies {ours, stopped or lost; position; sent}. KEYS are the backfill.
local caller, due, ends, done = ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5] == '1'
local owner, stop = unpack(redis.call('HMGET', KEYS[1], 'owner', 'stop'))
local status = owner ~= caller and 'lost' or stop == '1' and 'stopped' or 'ours'
if status ~= 'lost' then
  if due ~= '' then
    redis.call('HSET', KEYS[1], 'position', due)
    redis.call('HINCRBY', KEYS[1], 'sent', 1)
  end
  if done then redis.call('HSET', KEYS[1], 'done', 1) end
  redis.call('HSET', KEYS[1], 'seen', now, 'owner', ends and '' or caller)
end
local position, sent = unpack(redis.call('HMGET', KEYS[1], 'position', 'sent'))
return {now, {status, position or '0', sent or '0'}}
