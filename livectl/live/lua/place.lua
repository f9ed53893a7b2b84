-- Compares the places of streamers with what was last read of them: ARGV are platform, now, whether to mend, ids.
-- Returns the ids that were out of place: followed and neither live nor among the others as they should be, or never due.
local platform, now, mend = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local wrong, ids = {}, {}
for at = 4, #ARGV do ids[#ids + 1] = ARGV[at] end

local function mend_place(id, hot, is_live)
  if is_live then
    call('ZADD', key('live', platform), hot.started, id)
    call('ZREM', key('others', platform), id)
  else
    call('ZREM', key('live', platform), id)
    call('ZREM', key('ending', platform), id)
    call('ZADD', key('others', platform), place(hot), id)
  end
end

if #ids == 0 then return wrong end
local follows = call('HMGET', key('follows', platform), unpack(ids))
for at, raw in ipairs(call('HMGET', key('now', platform), unpack(ids))) do
  local id, hot = ids[at], raw and reading(raw) or {}
  local live, other = call('ZSCORE', key('live', platform), id), call('ZSCORE', key('others', platform), id)
  local is_live = hot.state == 'live'
  local misplaced = is_live and (not live or other) or not is_live and (live or tonumber(other or 'nan') ~= place(hot))
  local never_due = not call('ZSCORE', key('due', platform), id) and not call('ZSCORE', key('claimed', platform), id)
  if follows[at] and (misplaced or never_due) then
    wrong[#wrong + 1] = id
    if mend and misplaced then mend_place(id, hot, is_live) end
    if mend and never_due then call('ZADD', key('due', platform), now, id) end
  end
end
return wrong
