-- The store's database, the broker's, then each run: its member, its fence, how many commands, (verb, key, value) each.
-- Replies 'sent', 'taken' or the server's error for each run. KEYS are pending.
local store_database, broker_database = ARGV[2], ARGV[3]
local replies, i = {}, 4

while i <= #ARGV do
  local run, fence, count = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local outcome = 'taken'
  if tonumber(redis.call('ZSCORE', KEYS[1], run) or nil) == fence then
    outcome = send(store_database, broker_database, i + 3, count)
    -- Only now: a message that was refused must not be forgotten.
    if outcome == 'sent' then redis.call('ZREM', KEYS[1], run) end
  end
  i = i + 3 + 3 * count
  replies[#replies + 1] = outcome
end
return {now, replies}
