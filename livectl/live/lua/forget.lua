-- Forgets those of these streamers who are not followed and were last checked before a time: ARGV are platform,
-- that time, ids. Returns who they are.
local platform, before, forgotten = ARGV[1], tonumber(ARGV[2]), {}
for at = 3, #ARGV do
  local id = ARGV[at]
  local hot = reading(call('HGET', key('now', platform), id) or '{}')
  local last = math.max(hot.seen or 0, hot.asked or 0)
  if last < before and call('HEXISTS', key('follows', platform), id) == 0 then
    for _, kind in ipairs({'now', 'page', 'log', 'recent', 'viewers'}) do call('HDEL', key(kind, platform), id) end
    forgotten[#forgotten + 1] = id
  end
end
return forgotten
