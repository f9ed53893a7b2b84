-- Counts a page of who is followed in a cell: ARGV are the cursor, and how many at once. Returns the next cursor, 0 at the
-- end; what was last read of them and what keeps from a newer reading, as 'state trouble', each with of how many; and who
-- has such trouble.
local scanned, ids = call('HSCAN', K.follows, ARGV[1], 'COUNT', ARGV[2]), {}
for at = 1, #scanned[2], 2 do ids[#ids + 1] = scanned[2][at] end
local counts, flat, troubled = {}, {}, {}
for at, raw in ipairs(#ids > 0 and call('HMGET', K.now, unpack(ids)) or {}) do
  local state, trouble = raw and STATE_OF[raw:sub(1, 1)], nil
  if raw and not state then
    local hot = reading(raw)
    state, trouble = given(hot.state), given(hot.trouble)
  end
  local words = (state or '') .. ' ' .. (trouble or '')
  counts[words] = (counts[words] or 0) + 1
  if trouble then troubled[#troubled + 1] = ids[at] end
end
for words, count in pairs(counts) do flat[#flat + 1], flat[#flat + 2] = words, count end
return {scanned[1], flat, troubled}
