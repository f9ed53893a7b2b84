-- Looks at a page of those of whom something was read in a cell, and forgets those who are not followed and were last
-- checked before a time: ARGV are the cursor, how many at once, that time. Returns the next cursor, 0 at the end, and the
-- ids of the forgotten.
local scanned, before, old, forgotten = call('HSCAN', K.now, ARGV[1], 'COUNT', ARGV[2]), tonumber(ARGV[3]), {}, {}

local function last_check(raw)
  if STATE_OF[raw:sub(1, 1)] then return tonumber(raw:sub(2, SEEN_END)) end
  local hot = cjson.decode(raw)
  return math.max(hot.seen or 0, hot.asked or 0)
end

for at = 1, #scanned[2], 2 do
  if last_check(scanned[2][at + 1]) < before then old[#old + 1] = scanned[2][at] end
end
for at, follow in ipairs(#old > 0 and call('HMGET', K.follows, unpack(old)) or {}) do
  if not follow then forgotten[#forgotten + 1] = old[at] end
end
if #forgotten > 0 then
  for _, name in ipairs({K.now, K.page, K.log, K.recent, K.viewers}) do call('HDEL', name, unpack(forgotten)) end
end
return {scanned[1], forgotten}
