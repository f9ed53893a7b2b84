-- Reads streamers of a cell, each as [id, follow, now, page]: ARGV are
--   'some', ids ...              these, as an array
--   'page', kind, cursor, count  a page of who is followed there, or live there, as [the next cursor, 0 at the end, rows]
local call = redis.call

local function rows_of(ids)
  local rows = {}
  if #ids == 0 then return rows end
  local follows = call('HMGET', K.follows, unpack(ids))
  local nows = call('HMGET', K.now, unpack(ids))
  local pages = call('HMGET', K.page, unpack(ids))
  for at, id in ipairs(ids) do rows[at] = {id, follows[at] or '', nows[at] or '{}', pages[at] or '{}'} end
  return rows
end

if ARGV[1] == 'some' then return rows_of({unpack(ARGV, 2)}) end
local scanned, ids
if ARGV[2] == 'live' then
  scanned = call('ZSCAN', K.live, ARGV[3], 'COUNT', ARGV[4])
else
  scanned = call('HSCAN', K.follows, ARGV[3], 'COUNT', ARGV[4])
end
ids = {}
for at = 1, #scanned[2], 2 do ids[#ids + 1] = scanned[2][at] end
return {scanned[1], rows_of(ids)}
