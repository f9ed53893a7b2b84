-- Forgets those of these streamers who are not followed and were last checked before a time: ARGV are that time, ids.
-- Returns the ids of the forgotten.
local before, forgotten = tonumber(ARGV[1]), {}
for at = 2, #ARGV do
  local id = ARGV[at]
  local hot = reading(call('HGET', K.now, id) or '{}')
  local last = math.max(hot.seen or 0, hot.asked or 0)
  if last < before and call('HEXISTS', K.follows, id) == 0 then
    for _, name in ipairs({K.now, K.page, K.log, K.recent, K.viewers}) do call('HDEL', name, id) end
    forgotten[#forgotten + 1] = id
  end
end
return forgotten
