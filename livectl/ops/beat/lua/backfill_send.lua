-- the store's database, the broker's, who asks, then each run: when it is due, how many commands, (verb, key, value) each.
-- Sends those that come after the position, and moves it on. Replies 'sent', 'taken' or the server's error for each run.
-- KEYS are the backfill.
local store_database, broker_database, caller = ARGV[2], ARGV[3], ARGV[4]
local replies, i, refused = {}, 5, false

while i <= #ARGV do
  local due, count = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local owner, position, stop = unpack(redis.call('HMGET', KEYS[1], 'owner', 'position', 'stop'))
  local outcome = 'taken'
  if not refused and owner == caller and stop ~= '1' and due > tonumber(position) then
    outcome = send(store_database, broker_database, i + 2, count)
    refused = outcome ~= 'sent'
    if not refused then
      redis.call('HSET', KEYS[1], 'position', ARGV[i], 'seen', now)
      redis.call('HINCRBY', KEYS[1], 'sent', 1)
    end
  end
  i = i + 2 + 3 * count
  replies[#replies + 1] = outcome
end
return {now, replies}
